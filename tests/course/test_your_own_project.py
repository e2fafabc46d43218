"""Your own project."""

import math
from itertools import combinations, pairwise

import pytest
import torch
from checking import accepts, rejects
from torch.nn.utils import parameters_to_vector
from torch.optim import Adam
from torch.optim.lr_scheduler import StepLR

from cgtutor import SGD_C, Adam_C, GradVac
from cgtutor.aggregation import Sum
from cgtutor.autojac import backward, jac_to_grad, mtl_backward
from cgtutor.course.shared.data import Data, Split
from cgtutor.course.shared.speed import median_times
from cgtutor.course.shared.tasks import SharedEncoder, answers, evaluate_tasks
from cgtutor.course.shared.training import Curves, sweep
from cgtutor.course.your_own_project import checks, figures
from cgtutor.course.your_own_project.study import (
    METHODS,
    STEPS_PER_EPOCH,
    THREE_QUESTIONS,
    Method,
    Training,
    adam,
    interrupted,
    learning_rate_of_each_step,
    mean_step_of,
    slots_from_before,
    through_file,
    train_method,
    without,
)
from cgtutor.grouping import GroupedGradVac, all_layer, whole_model

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def tiny():
    """The first of the pictures: enough to learn something from in a moment."""
    return Data(*(Split(s.x[:60], s.y[:60]) for s in answers(THREE_QUESTIONS)))


def both(data, seed=0, scheduler=None):
    return Training(data, METHODS["GradVac, Adam_C"], 0.01, seed, scheduler, widths=(64, 8, 4))


def test_three_questions_by_hand(tiny):
    assert tiny.train.y.shape == (60, 3)
    yes = {digit: [digit in q for q in THREE_QUESTIONS.values()] for digit in range(10)}
    assert yes[6] == [True, False, True]
    assert yes[7] == [False, True, True]
    assert yes[1] == [False, False, False]


def test_methods_are_what_they_are_called(tiny):
    for name, method in METHODS.items():
        training = Training(tiny, method, 0.02)
        assert type(training.optimizer) is (Adam_C if name.endswith("Adam_C") else Adam)
        assert training.optimizer.param_groups[0]["lr"] == 0.02
        assert (training.vaccine is not None) is name.startswith("GradVac")
        assert training.scheduler is None
    training = both(tiny)
    assert training.vaccine.groups == all_layer(training.model.encoder)


def test_sum_by_hand(tiny):
    model, draws = SharedEncoder((64, 8, 4), 3, seed=5), torch.Generator().manual_seed(5)
    optimizer = Adam(model.parameters(), lr=0.01, fused=True)
    training = Training(tiny, Method(adam, False), 0.01, 5, widths=(64, 8, 4), batch_size=20)
    for _ in range(3):
        rows = torch.randint(60, (20,), generator=draws)
        losses, _ = model.losses(tiny.train.x[rows], tiny.train.y[rows])
        optimizer.zero_grad()
        sum(losses).backward()
        optimizer.step()
        assert training.step() == pytest.approx([loss.item() for loss in losses])
    torch.testing.assert_close(
        training.weights(), parameters_to_vector(model.parameters()).detach()
    )


def test_vaccinated_by_hand(tiny):
    """A GradVac for each layer, called layer after layer, on the same draws."""
    state = torch.get_rng_state()
    training = both(tiny, seed=2)
    model, draws = SharedEncoder((64, 8, 4), 3, seed=2), torch.Generator().manual_seed(2)
    orders = torch.Generator().manual_seed(2)
    vaccines = [(group, GradVac(generator=orders)) for group in all_layer(model.encoder)]
    optimizer = Adam_C(model.parameters(), lr=0.01, fused=True)
    for _ in range(4):
        rows = torch.randint(60, (50,), generator=draws)
        optimizer.zero_grad()
        losses, features = model.losses(tiny.train.x[rows], tiny.train.y[rows])
        mtl_backward(losses, features=features)
        for group, vaccine in vaccines:
            jac_to_grad(group, vaccine)
        optimizer.step()
        training.step()
    torch.testing.assert_close(
        training.weights(), parameters_to_vector(model.parameters()).detach()
    )
    assert torch.equal(torch.get_rng_state(), state)


def test_train_and_sweep(tiny):
    method = METHODS["sum, Adam"]
    run = train_method(method, 0.01, 1, tiny, epochs=2)
    assert [len(values) for values in run[:3]] == [2, 2, 2]
    assert run.train_loss[1] < run.train_loss[0]
    training = Training(tiny, method, 0.01, seed=1)
    for _ in range(2 * STEPS_PER_EPOCH):
        training.step()
    loss, hits = evaluate_tasks(training.model, tiny.validation)
    assert (run.validation_loss[1], run.validation_accuracy[1]) == (loss, hits.mean())
    assert run.test_accuracy == evaluate_tasks(training.model, tiny.test)[1].mean()
    methods = {"a": method, "b": method}
    results = sweep(methods, [0.001, 0.01], range(2), train_method, tiny, epochs=2)
    assert results["a"] == results["b"]
    assert results["a"][0.01][1] == run
    assert isinstance(run, Curves)


def test_mean_step_by_hand(tiny):
    def sgd(parameters, lr):
        return torch.optim.SGD(parameters, lr=lr)

    training = Training(tiny, Method(sgd, False), 0.1)
    points = [training.weights()]
    for _ in range(3):
        training.step()
        points.append(training.weights())
    expected = sum((b - a).norm().item() for a, b in pairwise(points)) / 3
    assert mean_step_of(Training(tiny, Method(sgd, False), 0.1), 3) == pytest.approx(expected)


def halving(optimizer):
    return StepLR(optimizer, 5, gamma=0.5)


def test_resumed_is_equal_to_the_bit(tiny):
    make = lambda: both(tiny, scheduler=halving)  # noqa: E731
    assert interrupted(make, before=7, after=8) == 0
    plain = lambda: Training(tiny, METHODS["sum, Adam"], 0.01)  # noqa: E731
    assert interrupted(plain, before=3, after=3) == 0


PARTS = ["model", "optimizer", "memory", "scheduler", "vaccine", "draws"]


@pytest.mark.parametrize("part", PARTS)
def test_each_part_counts(tiny, part):
    assert interrupted(lambda: both(tiny, scheduler=halving), part, before=7, after=8) > 1e-4


def test_what_is_saved(tiny):
    training = both(tiny, scheduler=halving)
    training.step()
    state = training.state_dict()
    assert sorted([*state, "memory"]) == sorted(PARTS)
    assert set(without(state, "draws")) == set(state) - {"draws"}
    forgetful = without(state, "memory")
    assert set(forgetful["optimizer"]["state"][0]) == {"step", "exp_avg", "exp_avg_sq"}
    assert "critical_gradients" in state["optimizer"]["state"][0], (
        "what was saved is left as it was"
    )
    assert set(Training(tiny, METHODS["sum, Adam"], 0.1).state_dict()) == {
        *("model", "optimizer", "draws")
    }
    again = through_file(state)
    assert again["vaccine"]["targets"].shape == (2, 3, 3)
    plain = Training(tiny, METHODS["sum, Adam"], 0.1, widths=(64, 8, 4))
    plain.load_state_dict({name: state[name] for name in ("model", "vaccine")})
    assert torch.equal(plain.weights(), training.weights())


def test_learning_rate_of_each_step(tiny):
    rates = learning_rate_of_each_step(tiny, METHODS["sum, Adam_C"], 0.4, halving, steps=11)
    assert rates == [0.4] * 5 + [0.2] * 5 + [0.1]


def test_slots_from_before(tiny):
    """With decay 0 a memory is the last gradients, and one goes with every step."""
    assert slots_from_before(tiny, decay=0, topC=3, drop=5, after=5) == [2, 1, 0, 0, 0]
    choosy = slots_from_before(tiny, decay=1, topC=3, drop=20, after=3)
    assert len(choosy) == 3
    assert all(0 <= count <= 3 for count in choosy)
    assert choosy == sorted(choosy, reverse=True)
    changed = slots_from_before(tiny, decay=1, topC=3, drop=20, after=3, then_decay=0)
    assert changed == [3, 2, 1], "old priorities are met once more, then all are zero"


def test_step_times(tiny):
    steps = {name: Training(tiny, method, 0.001).step for name, method in METHODS.items()}
    times = median_times(steps, repeats=2, warm_up=1)
    assert list(times) == list(METHODS)
    assert all(seconds > 0 for seconds in times.values())


def test_schedules():
    figure = figures.schedules({"up": [0.1, 0.2, 0.3], "down": [0.5, 0.25, 0.125]})
    (ax,) = figure.axes
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("step", "learning rate")
    assert [line.get_ydata().tolist() for line in ax.lines] == [[0.1, 0.2, 0.3], [0.5, 0.25, 0.125]]
    assert list(ax.lines[0].get_xdata()) == [1, 2, 3]
    assert "up starts at 0.1, is highest at step 3 with 0.3, and ends at 0.3;" in figure.alt
    assert "down starts at 0.5, is highest at step 1 with 0.5, and ends at 0.12." in figure.alt


def test_leftovers():
    figure = figures.leftovers(
        {"decay 0.7": [[4, 2, 0], [4, 0, 0]], "decay 1": [[4, 4, 3]]}, topC=4
    )
    (ax,) = figure.axes
    assert list(ax.lines[0].get_ydata()) == [4, 1, 0]
    assert ax.get_xlabel() == "steps since the change"
    assert "Of 4 slots" in figure.alt
    assert "fewer than half are left on average: decay 0.7: 2; decay 1: more than 3." in figure.alt


def solution(model, batches):
    optimizer = Adam_C(model.parameters(), lr=0.003)
    vaccine = GroupedGradVac(all_layer(model.encoder))
    for x, y in batches:
        optimizer.zero_grad()
        losses, features = model.losses(x, y)
        mtl_backward(losses, features=features)
        vaccine.jac_to_grad()
        optimizer.step()
    return optimizer, vaccine


def variant(
    make_optimizer=None,
    make_vaccine=None,
    body=None,
    back=lambda model, optimizer, vaccine: (optimizer, vaccine),
):
    """The solution with one piece exchanged."""

    def train_it(model, batches):
        optimizer = (make_optimizer or (lambda m: Adam_C(m.parameters(), lr=0.003)))(model)
        vaccine = (make_vaccine or (lambda m: GroupedGradVac(all_layer(m.encoder))))(model)
        for x, y in batches:
            losses, features = model.losses(x, y)
            if body is not None:
                body(model, optimizer, vaccine, losses, features)
                continue
            optimizer.zero_grad()
            mtl_backward(losses, features=features)
            vaccine.jac_to_grad()
            optimizer.step()
        return back(model, optimizer, vaccine)

    return train_it


RIGHT = {
    "in this order": solution,
    "zero_grad last, a generator, groups reversed": variant(
        make_vaccine=lambda m: GroupedGradVac(
            reversed(all_layer(m.encoder)), generator=torch.Generator().manual_seed(9)
        ),
        body=lambda m, o, v, losses, f: (
            mtl_backward(losses, features=f),
            v.jac_to_grad(),
            o.step(),
            o.zero_grad(),
        ),
    ),
}


@pytest.mark.parametrize("form", RIGHT)
def test_use_both_accepts(form):
    assert "After 8 steps" in accepts(checks.use_both, RIGHT[form])


def test_use_both_accepts_in_single_precision_too():
    torch.set_default_dtype(torch.float32)
    accepts(checks.use_both, solution)


RETURNS = {
    "return two things, optimizer and vaccine; got NoneType": lambda m, o, v: None,
    "optimizer and vaccine; got Adam_C": lambda m, o, v: o,
    "optimizer and vaccine; got list": lambda m, o, v: [o, v],
    "optimizer and vaccine; got tuple": lambda m, o, v: (o, v, m),
    "the optimizer is Adam, and the": lambda m, o, v: (Adam(m.parameters()), v),
    "asks for Adam_C": lambda m, o, v: (SGD_C(m.parameters(), lr=1), v),
    "the parameters of the heads too": lambda m, o, v: (Adam_C(m.encoder.parameters()), v),
    "the parameters of the encoder too": lambda m, o, v: (Adam_C(m.heads.parameters()), v),
    "kappa is 0": lambda m, o, v: (Adam_C(m.parameters(), lr=0.003, kappa=0), v),
    "lr is 0.001; leave it at 0.003": lambda m, o, v: (Adam_C(m.parameters()), v),
    "topC is 3": lambda m, o, v: (Adam_C(m.parameters(), lr=0.003, topC=3), v),
    "decay is 0.9": lambda m, o, v: (Adam_C(m.parameters(), lr=0.003, decay=0.9), v),
    "is a GradVac. Each layer": lambda m, o, v: (o, GradVac()),
    "is a NoneType": lambda m, o, v: (o, None),
    "has 1 groups, and not the 2 of": lambda m, o, v: (o, GroupedGradVac(whole_model(m.encoder))),
    "without the heads": lambda m, o, v: (o, GroupedGradVac(all_layer(m))),
    "all_layer(model.encoder)": lambda m, o, v: (
        o,
        GroupedGradVac(all_layer(torch.nn.Linear(2, 2))),
    ),
    "beta is 0.1": lambda m, o, v: (o, GroupedGradVac(all_layer(m.encoder), 0.1)),
}


@pytest.mark.parametrize("why", RETURNS)
def test_use_both_looks_at_what_it_returns(why):
    rejects(checks.use_both, variant(back=RETURNS[why]), why)


def mtl(losses, features, **more):
    mtl_backward(losses, features=features, **more)


BODIES = {
    "on the sum of the losses": lambda m, o, v, losses, f: (
        o.zero_grad(),
        sum(losses).backward(),
        o.step(),
    ),
    "got the sum of the losses": lambda m, o, v, losses, f: (
        o.zero_grad(),
        mtl([sum(losses)], f),
        v.jac_to_grad(),
        o.step(),
    ),
    "each counts twice": lambda m, o, v, losses, f: (
        o.zero_grad(),
        mtl(losses, f, retain_graph=True),
        v.jac_to_grad(),
        sum(losses).backward(),
        o.step(),
    ),
    "keep no other one": lambda m, o, v, losses, f: (
        mtl(losses, f),
        sum(losses).backward(),
    ),
    "gradients of all steps so far add up": lambda m, o, v, losses, f: (
        mtl(losses, f),
        v.jac_to_grad(),
        o.step(),
    ),
    "takes away what mtl_backward wrote": lambda m, o, v, losses, f: (
        mtl(losses, f),
        o.zero_grad(),
        v.jac_to_grad(),
        o.step(),
    ),
    "when the encoder has no .grad yet": lambda m, o, v, losses, f: (
        o.zero_grad(),
        mtl(losses, f),
        o.step(),
        v.jac_to_grad(),
    ),
    "gradient of the step before": lambda m, o, v, losses, f: (
        mtl(losses, f),
        o.step(),
        o.zero_grad(),
        v.jac_to_grad(),
    ),
    "was never called": lambda m, o, v, losses, f: (o.zero_grad(), mtl(losses, f), o.step()),
    "retain_jac=True": lambda m, o, v, losses, f: (
        o.zero_grad(),
        mtl(losses, f),
        v.jac_to_grad(retain_jac=True),
        o.step(),
    ),
    "no weight has changed": lambda m, o, v, losses, f: (
        o.zero_grad(),
        mtl(losses, f),
        v.jac_to_grad(),
    ),
    "the heads got a .jac and no .grad": lambda m, o, v, losses, f: (
        o.zero_grad(),
        backward(losses),
        v.jac_to_grad(),
        o.step(),
    ),
    "only mtl_backward makes a .jac": lambda m, o, v, losses, f: (
        o.zero_grad(),
        sum(losses).backward(),
        v.jac_to_grad(),
    ),
    "group the parameters of model.encoder)": lambda m, o, v, losses, f: (
        o.zero_grad(),
        mtl(losses, f),
        jac_to_grad(m.parameters(), Sum()),
    ),
    "knows its parameters; give it none": lambda m, o, v, losses, f: (
        mtl(losses, f),
        v.jac_to_grad(m.encoder.parameters()),
    ),
    "a grouped vaccine has its own method, vaccine.jac_to_grad()": lambda m, o, v, losses, f: (
        mtl(losses, f),
        jac_to_grad(m.encoder.parameters(), v),
    ),
    "features=features": lambda m, o, v, losses, f: mtl_backward(losses),
    "takes the list": lambda m, o, v, losses, f: losses.backward(),
    "weights are up to": lambda m, o, v, losses, f: (
        o.zero_grad(),
        mtl([loss / 3 for loss in losses], f),
        v.jac_to_grad(),
        o.step(),
        o.step(),
    ),
    "has made 16 steps": lambda m, o, v, losses, f: (
        o.zero_grad(),
        mtl(losses, f),
        v.jac_to_grad(),
        o.step(),
        o.step(),
    ),
    "not finite": lambda m, o, v, losses, f: m.heads[0].weight.data.fill_(math.nan),
    "AttributeError": lambda m, o, v, losses, f: o.nonsense(),
}


@pytest.mark.parametrize("why", BODIES)
def test_use_both_rejects(why):
    rejects(checks.use_both, variant(body=BODIES[why]), why)


def test_use_both_rejects_what_is_made_in_the_loop():
    def new_vaccine(model, batches):
        optimizer = Adam_C(model.parameters(), lr=0.003)
        for x, y in batches:
            vaccine = GroupedGradVac(all_layer(model.encoder))
            optimizer.zero_grad()
            losses, features = model.losses(x, y)
            mtl_backward(losses, features=features)
            vaccine.jac_to_grad()
            optimizer.step()
        return optimizer, vaccine

    rejects(checks.use_both, new_vaccine, "the vaccine is made in each step")

    def new_optimizer(model, batches):
        vaccine = GroupedGradVac(all_layer(model.encoder))
        for x, y in batches:
            optimizer = Adam_C(model.parameters(), lr=0.003)
            losses, features = model.losses(x, y)
            optimizer.zero_grad()
            mtl_backward(losses, features=features)
            vaccine.jac_to_grad()
            optimizer.step()
        return optimizer, vaccine

    rejects(checks.use_both, new_optimizer, "the optimizer is made in each step")


def test_use_both_rejects_groups_with_heads():
    grouped = variant(make_vaccine=lambda m: GroupedGradVac(all_layer(m)))
    rejects(checks.use_both, grouped, "a .jac, and for the shared parameters alone")


def test_each_typical_mistake_leads_to_weights_of_its_own():
    """But for two that the check tells apart by whether the vaccine saw anything."""
    found = {calls: checks._trained(calls) for calls in [checks._RIGHT, *checks._MISTAKES]}
    alike = [(a, b) for a, b in combinations(found, 2) if checks._close(found[a], found[b])]
    assert alike == [("zero_grad mtl_backward step jac_to_grad", "zero_grad mtl_backward step")]


def checkpoint(model, optimizer, scheduler, vaccine, draws):
    return {
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "scheduler": scheduler.state_dict(),
        "vaccine": vaccine.state_dict(),
        "draws": draws.get_state(),
    }


def resume(saved, model, optimizer, scheduler, vaccine, draws):
    model.load_state_dict(saved["model"])
    optimizer.load_state_dict(saved["optimizer"])
    scheduler.load_state_dict(saved["scheduler"])
    vaccine.load_state_dict(saved["vaccine"])
    draws.set_state(saved["draws"])


def test_save_and_resume_accepts():
    verdict = accepts(checks.save_and_resume, checkpoint, resume)
    assert "12 steps after the interruption" in verdict


def forgetting(part):
    """A resume that leaves one part as it is."""

    def resume_it(saved, model, optimizer, scheduler, vaccine, draws):
        others = {
            "model": SharedEncoder((64, 12, 6), 3),
            "optimizer": None,
            "scheduler": None,
        }
        (model if part != "model" else others["model"]).load_state_dict(saved["model"])
        if part != "optimizer":
            optimizer.load_state_dict(saved["optimizer"])
        if part != "scheduler":
            scheduler.load_state_dict(saved["scheduler"])
        state = saved["vaccine"]
        if part == "orders":
            state = {**state, "_extra_state": vaccine.state_dict()["_extra_state"]}
        if part != "targets":
            vaccine.load_state_dict(state)
        if part != "draws":
            draws.set_state(saved["draws"])

    return resume_it


FORGOTTEN = {
    "model": "model has other weights",
    "optimizer": "optimizer starts afresh",
    "scheduler": "scheduler starts afresh",
    "targets": "lost its targets",
    "orders": "in other orders",
    "draws": "mini-batches will be others",
}


@pytest.mark.parametrize("part", FORGOTTEN)
def test_save_and_resume_names_what_is_missing(part):
    rejects(checks.save_and_resume, (checkpoint, forgetting(part)), FORGOTTEN[part])


def without_memory(saved, *parts):
    resume(without(saved, "memory"), *parts)


def other_rate(saved, model, optimizer, *rest):
    resume(saved, model, optimizer, *rest)
    optimizer.param_groups[0]["lr"] = 1.0


def replaced(saved, model, optimizer, scheduler, vaccine, draws):
    resume(saved, model, optimizer, scheduler, vaccine, draws)
    vaccine.generator = saved["draws"]


def shortened(saved, model, optimizer, *rest):
    resume(saved, model, optimizer, *rest)
    optimizer.state[next(model.parameters())]["exp_avg"].zero_()


def frozen(saved, model, *rest):
    resume(saved, model, *rest)
    model.heads[0].weight.requires_grad_(False)


def broken(saved, model, *rest):
    resume(saved, model, *rest)
    model.encoder[0].weight.requires_grad_(False)


def nosy(model, optimizer, scheduler, vaccine, draws):
    saved = checkpoint(model, optimizer, scheduler, vaccine, draws)
    torch.rand(1, generator=draws)
    saved["draws"] = draws.get_state()
    return saved


WRONG_PAIRS = {
    "checkpoint returns None, not a dictionary.": (lambda *parts: None, resume),
    "a list, not a dictionary.": (lambda *parts: [*parts], resume),
    "'model', a SharedEncoder, is nothing that": (lambda *parts: {"model": parts[0]}, resume),
    "'model', a method, is": (lambda *parts: {"model": parts[0].state_dict}, resume),
    "replaced by a Tensor": (checkpoint, replaced),
    "it stopped with ZeroDivisionError": (lambda *parts: 1 / 0, resume),
    "it stopped with KeyError: 'model'": (lambda *parts: {}, resume),
    "memory is empty": (checkpoint, without_memory),
    "optimizer is not where it was": (checkpoint, other_rate),
    "is not where it was saved": (checkpoint, shortened),
    "Was something replaced": (checkpoint, frozen),
    "it stopped with ValueError": (checkpoint, broken),
    "saving a training has changed it": (nosy, resume),
}


@pytest.mark.parametrize("why", WRONG_PAIRS)
def test_save_and_resume_rejects(why):
    rejects(checks.save_and_resume, WRONG_PAIRS[why], why)
