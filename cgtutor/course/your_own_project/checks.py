"""Checks of the exercises about a project of one's own."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils import parameters_to_vector
from torch.optim import Adam, Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, LRScheduler

from cgtutor.aggregation import GradVac
from cgtutor.autojac import mtl_backward
from cgtutor.course.shared.guard import guarded
from cgtutor.course.shared.tasks import SharedEncoder, answers
from cgtutor.course.your_own_project.study import THREE_QUESTIONS, Method, Training, through_file
from cgtutor.grouping import GroupedGradVac, all_layer
from cgtutor.optim import Adam_C

Batches = Iterable[tuple[Tensor, Tensor]]


#: Trains a model on mini-batches, and gives back the optimizer and the vaccine.
Train = Callable[[SharedEncoder, Batches], tuple[Adam_C, GroupedGradVac]]


_LR, _STEPS = 0.003, 8


def use_both(train: Train) -> None:
    """Notebook 11: a plain multi-task training, made to use GradVac and Adam_C."""
    print(_use_both(train))


@guarded
def _use_both(train: Train) -> str:
    model = _start()
    try:
        found = train(model, _batches())
    except Exception as error:  # whatever the answer does, the notebook goes on
        return f"Not yet: {_why(error, model)}."
    wrong = _not_both(found) or _optimizer(found[0], model) or _vaccine(found[1], model)
    wrong = wrong or _weights(model, *found)
    if wrong:
        return f"Not yet: {wrong}" + ("" if wrong.endswith("?") else ".")
    return (
        f"Right! After {_STEPS} steps every weight is what it should be; the memory has seen "
        f"{_STEPS} gradients, and the vaccine kept its targets from step to step."
    )


def _start() -> SharedEncoder:
    """Two tasks: with more, the vaccine draws an order, which depends on who drew before."""
    return SharedEncoder((64, 12, 6), tasks=2, seed=3).double()


def _batches() -> list[tuple[Tensor, Tensor]]:
    train = answers().train
    rows = torch.randperm(len(train.y), generator=torch.Generator().manual_seed(3))
    parts = rows[: 25 * _STEPS].split(25)
    return [(train.x[part].double(), train.y[part].double()) for part in parts]


def _why(error: Exception, model: SharedEncoder) -> str:
    """What an exception of train means."""
    pending = any(getattr(p, "jac", None) is not None for p in model.encoder.parameters())
    for sign, meaning in {
        "jac_to_grad() takes": "vaccine.jac_to_grad() knows its parameters; give it none",
        "gramian must be square": (
            "jac_to_grad(parameters, aggregator) wants an aggregator, and the vaccine has one for "
            "each group. Call vaccine.jac_to_grad()"
        ),
        "second time": (
            "mtl_backward is the backward pass, and there is another one. Keep only mtl_backward"
        ),
        ".jac": (
            "only the shared parameters have a .jac; the heads get their .grad from mtl_backward. "
            "Group the parameters of model.encoder alone"
            if pending
            else "there is no .jac, which only mtl_backward makes. Call it before jac_to_grad"
        ),
        "'features'": "mtl_backward needs to know where the heads begin: features=features",
        "has no attribute 'backward'": "mtl_backward(losses, features=features) takes the list",
    }.items():
        if sign in str(error):
            return f"{meaning}. (It stopped with {type(error).__name__})"
    return f"it stopped with {type(error).__name__}: {error}"


def _not_both(found: Any) -> str:
    if found is None:
        return "train gives back None; give back optimizer and vaccine"
    if isinstance(found, Optimizer):
        return "train gives back the optimizer alone; give back optimizer and vaccine"
    if not isinstance(found, tuple) or len(found) != 2:
        return f"give back two things, optimizer and vaccine, not a {type(found).__name__}"
    if isinstance(found[1], Optimizer):
        return "the two things are swapped: first the optimizer, then the vaccine"
    return ""


def _optimizer(optimizer: Any, model: SharedEncoder) -> str:
    if type(optimizer) is Adam:
        return "the optimizer is still Adam"
    if not isinstance(optimizer, Adam_C):
        return f"the optimizer is a {type(optimizer).__name__}, and the exercise asks for Adam_C"
    its = {p for group in optimizer.param_groups for p in group["params"]}
    if set(model.heads.parameters()) - its:
        return "the optimizer does not have the heads' parameters; model.parameters() has all"
    if set(model.parameters()) != its:
        return "the optimizer does not have the encoder's parameters; model.parameters() has all"
    group = optimizer.param_groups[0]
    if group["kappa"] == 0:
        return "kappa=0 takes the memory out, and this is Adam again"
    if group["lr"] != _LR:
        return f"the learning rate is {group['lr']:g}; leave it at {_LR:g}"
    changed = [k for k in ("topC", "decay", "aggr", "kappa") if group[k] != _DEFAULTS[k]]
    if changed:
        return f"leave {', '.join(changed)} as the default is, or the weights cannot be compared"
    return ""


_DEFAULTS = Adam_C([torch.zeros(1, requires_grad=True)]).param_groups[0]


def _vaccine(vaccine: Any, model: SharedEncoder) -> str:
    if isinstance(vaccine, GradVac):
        return (
            "GradVac has one set of targets. Each layer is to have its own: "
            "GroupedGradVac(all_layer(model.encoder))"
        )
    if not isinstance(vaccine, GroupedGradVac):
        return f"the vaccine is a {type(vaccine).__name__}, not a GroupedGradVac"
    found = {frozenset(group) for group in vaccine.groups}
    if found != {frozenset(group) for group in all_layer(model.encoder)}:
        every = frozenset(p for group in found for p in group)
        if every & set(model.heads.parameters()):
            return "the vaccine has parameters of the heads; group those of model.encoder alone"
        if every - set(model.encoder.parameters()):
            return "the vaccine has parameters that are not the model's"
        return (
            f"the vaccine has {len(found)} groups, and all_layer(model.encoder) makes "
            f"{len(all_layer(model.encoder))}, one for each layer"
        )
    if vaccine.beta != 0.5:
        return "leave beta as the default is, or the weights cannot be compared"
    return ""


#: What to say about a wrong training, by the name that :func:`_reference` knows it by.
_TYPICAL: dict[str, str] = {
    "sum": (
        "the weights are those of Adam_C on the sum of the losses. The tasks' gradients have to "
        "be kept apart: mtl_backward(losses, features=features), then vaccine.jac_to_grad()"
    ),
    "one task": (
        "mtl_backward got the sum of the losses. Give it the list, or there is only one task"
    ),
    "both": (
        "the weights are those of mtl_backward and sum(losses).backward() together: each gradient "
        "counts twice. Keep only mtl_backward"
    ),
    "no zero_grad": (
        "without optimizer.zero_grad() in each step, gradients of all steps so far add up"
    ),
    "late zero_grad": (
        "zero_grad between mtl_backward and step takes away what mtl_backward wrote for the "
        "heads. Call it before"
    ),
    "step first": (
        "the encoder was not moved: step() comes before jac_to_grad(), when the encoder has no "
        ".grad yet"
    ),
    "step between": (
        "step() comes before jac_to_grad(), so the encoder moves along the gradient of the step "
        "before"
    ),
    "no jac_to_grad": (
        "the encoder was not moved: vaccine.jac_to_grad() makes its .grad of the .jac, and it was "
        "never called"
    ),
    "new vaccine": (
        "the vaccine is made anew in each step, and so forgets its targets, which makes it "
        "PCGrad. Make it once, before the loop"
    ),
    "new optimizer": (
        "the optimizer is made anew in each step, and so forgets its memory. Make it once, before "
        "the loop"
    ),
    "retain_jac": "with retain_jac=True the .jac of all steps so far add up. Leave it out",
}


def _reference(model: SharedEncoder, batches: Batches, mistake: str = "") -> None:
    """The training as it should be, or with one of the mistakes in ``_TYPICAL``."""
    optimizer = Adam_C(model.parameters(), lr=_LR)
    vaccine = GroupedGradVac(all_layer(model.encoder))
    for x, y in batches:
        if mistake == "new vaccine":
            vaccine.reset()
        if mistake == "new optimizer":
            optimizer = Adam_C(model.parameters(), lr=_LR)
        losses, features = model.losses(x, y)
        total = torch.stack(losses).sum()
        if mistake not in ("no zero_grad", "step between"):
            optimizer.zero_grad()
        if mistake in ("sum", "both"):
            total.backward(retain_graph=True)
        if mistake != "sum":
            mtl_backward([total] if mistake == "one task" else losses, features=features)
        if mistake == "late zero_grad":
            optimizer.zero_grad()
        if mistake in ("step first", "step between"):
            optimizer.step()
            if mistake == "step between":
                optimizer.zero_grad()
        if mistake not in ("sum", "no jac_to_grad"):
            vaccine.jac_to_grad(retain_jac=mistake == "retain_jac")
        if mistake not in ("step first", "step between"):
            optimizer.step()


def _weights(model: SharedEncoder, optimizer: Adam_C, vaccine: GroupedGradVac) -> str:
    """What is wrong with the weights after the training, or nothing."""

    def after(mistake: str = "") -> Tensor:
        other = _start()
        _reference(other, _batches(), mistake)
        return parameters_to_vector(other.parameters())

    mine, right = parameters_to_vector(model.parameters()), after()
    if not mine.isfinite().all():
        return "some weights are not finite"
    if _close(mine, right):
        return ""
    if _close(mine, parameters_to_vector(_start().parameters())):
        return (
            "no weight has changed. Was optimizer.step() called, and zero_grad not between "
            "jac_to_grad and step?"
        )
    if any(getattr(p, "jac", None) is not None for p in model.heads.parameters()):
        return (
            "the heads got a .jac, and no .grad to move along. mtl_backward, which knows the "
            "features, gives them a .grad; backward does not"
        )
    if vaccine.targets.shape[-1] == 1:
        return _TYPICAL["one task"]
    never = vaccine.report is None
    for mistake, message in _TYPICAL.items():
        if never == (mistake in _WITHOUT_VACCINE) and _close(mine, after(mistake)):
            return message
    difference = (mine - right).abs().max().item()
    steps = optimizer.memory(next(model.parameters())).state["seen"]
    return (
        f"after {len(_batches())} mini-batches the optimizer has made {steps} steps, and the "
        f"weights are up to {difference:.1g} off. Each mini-batch is one step, on the list of "
        "losses as it is"
    )


def _close(mine: Tensor, other: Tensor) -> bool:
    return torch.allclose(mine, other, rtol=0, atol=1e-9)


#: The mistakes with which the vaccine never sees a gradient.
_WITHOUT_VACCINE = ("sum", "no jac_to_grad")


#: model, optimizer, scheduler, vaccine, generator of the mini-batches -> what goes into a file
Checkpoint = Callable[..., dict[str, Any]]


#: What came from the file, and the same five -> nothing
Resume = Callable[..., None]


def save_and_resume(checkpoint: Checkpoint, resume: Resume) -> None:
    """Notebook 11: interrupt a training and resume it, equal to the bit."""
    print(_save_and_resume(checkpoint, resume))


def _parts(training: Training) -> tuple[Any, ...]:
    return (
        training.model,
        training.optimizer,
        training.scheduler,
        training.vaccine,
        training.draws,
    )


@guarded
def _save_and_resume(checkpoint: Checkpoint, resume: Resume) -> str:
    data, steps = answers(THREE_QUESTIONS), 12

    def begin(seed: int) -> Training:
        return Training(data, _ADAM_C, 0.01, seed, _cosine, widths=(64, 12, 6))

    untouched, through, resumed = begin(0), begin(0), begin(1)
    for _ in range(steps):
        untouched.step()
        through.step()
    doing = "checkpoint stopped with "
    try:
        saved = checkpoint(*_parts(through))
        if not isinstance(saved, dict):
            missing = "; is the word `return` missing?" if saved is None else ", not a dictionary."
            return f"Not yet: checkpoint gives back {_kind(saved)}{missing}"
        for name, part in saved.items():
            if not _is_plain(part):
                return (
                    f"Not yet: what is saved as {name!r}, {_kind(part)}, is nothing that "
                    "torch.load(weights_only=True) reads. Save what state_dict() and get_state() "
                    "give (with parentheses), not the objects themselves."
                )
        loaded = through_file(saved)
        doing = "resume stopped with "
        resume(loaded, *_parts(resumed))
        wrong = _not_resumed(through, resumed)
        if wrong:
            return f"Not yet: {wrong}."
        doing = "after it was resumed the training stopped with "
        for _ in range(steps):
            for training in (untouched, through, resumed):
                training.step()
    except Exception as error:  # whatever the answer does, the notebook goes on
        return f"Not yet: {doing}{type(error).__name__}: {error}"
    if not torch.equal(untouched.weights(), through.weights()):
        return (
            "Not yet: saving a training has changed it. A checkpoint only looks: no step, no "
            "zero_grad, no random number drawn."
        )
    if not torch.equal(untouched.weights(), resumed.weights()):
        return "Not yet: all parts are there, and yet the trainings part. Was something replaced?"
    return f"Right! {steps} steps after the interruption all weights are equal, to the bit."


_ADAM_C = Method(lambda parameters, lr: Adam_C(parameters, lr=lr), True)


def _cosine(optimizer: Optimizer) -> LRScheduler:
    return CosineAnnealingLR(optimizer, 40)


def _is_plain(part: Any) -> bool:
    try:
        through_file({"part": part})
    except Exception:  # of pickle, or of whatever the object does
        return False
    return True


def _kind(value: Any) -> str:
    return "None" if value is None else f"a {type(value).__name__}"


def _not_resumed(through: Training, resumed: Training) -> str:
    """The first part in which a resumed training is not where the other was saved."""
    if not torch.equal(through.weights(), resumed.weights()):
        return "the resumed model has other weights"
    mine, saved = resumed.optimizer.state_dict(), through.optimizer.state_dict()
    if not mine["state"]:
        return (
            "the optimizer starts afresh, with no running averages and an empty memory. "
            "optimizer.state_dict() has both"
        )
    if not all("critical" in state for state in mine["state"].values()):
        return "the optimizer's memory is empty; it is in optimizer.state_dict(), as 'critical'"
    if mine["param_groups"] != saved["param_groups"] or not _same_averages(mine, saved):
        return "the optimizer is not where it was saved; save and load its state_dict() as it is"
    assert through.vaccine is not None
    assert resumed.vaccine is not None
    assert through.scheduler is not None
    assert resumed.scheduler is not None
    if through.scheduler.last_epoch != resumed.scheduler.last_epoch:
        return "the scheduler starts afresh; it has a state_dict() too"
    if through.vaccine.targets.shape != resumed.vaccine.targets.shape:
        return "the vaccine has lost its targets; vaccine.state_dict() has them"
    if not isinstance(resumed.vaccine.generator, torch.Generator):
        return (
            f"vaccine.generator has been replaced by {_kind(resumed.vaccine.generator)}; "
            "vaccine.generator.set_state(...) resumes it"
        )
    orders = [t.vaccine.generator.get_state() for t in (through, resumed)]  # type: ignore[union-attr]
    draws = [t.draws.get_state() for t in (through, resumed)]
    if torch.equal(orders[0], draws[1]) or torch.equal(draws[0], orders[1]):
        return "the two generators are swapped: draws is one, vaccine.generator is another"
    if not torch.equal(*draws):
        return (
            "the next mini-batches will be others: draws.get_state() saves the generator, "
            "draws.set_state(...) resumes it"
        )
    if not torch.equal(*orders):
        return (
            "the vaccine will meet the tasks in other orders: its targets are in state_dict(), its "
            "random state in vaccine.generator.get_state()"
        )
    return ""


def _same_averages(mine: dict[str, Any], saved: dict[str, Any]) -> bool:
    return all(
        torch.equal(mine["state"][key][name], of_one[name])
        for key, of_one in saved["state"].items()
        for name in ("step", "exp_avg", "exp_avg_sq")
    )
