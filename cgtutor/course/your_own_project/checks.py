"""The checks of the exercises of the notebook *your own project*."""

from collections.abc import Callable, Iterable
from functools import partial
from operator import attrgetter
from pickle import PickleError
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils import parameters_to_vector
from torch.optim import Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR

from cgtutor import Adam_C
from cgtutor.autojac import mtl_backward
from cgtutor.course.shared.check import NotYet, check
from cgtutor.course.shared.tasks import SharedEncoder, answers
from cgtutor.course.your_own_project.study import METHODS, THREE_QUESTIONS, Training, through_file
from cgtutor.grouping import GroupedGradVac, all_layer

Batches = Iterable[tuple[Tensor, Tensor]]

#: Trains a model on mini-batches, and returns the optimizer and the vaccine.
Train = Callable[[SharedEncoder, Batches], tuple[Adam_C, GroupedGradVac]]

_LR, _STEPS = 0.003, 8
_SETTINGS = {"lr": _LR, "kappa": 1.0, "topC": 10, "decay": 0.7, "aggr": "mean"}


@check(
    errors={
        "jac_to_grad() takes": "vaccine.jac_to_grad() knows its parameters; give it none",
        "second time": "mtl_backward is the backward pass; keep no other one",
        ".jac": "only mtl_backward makes a .jac, and for the shared parameters alone: call it "
        "before jac_to_grad, and group the parameters of model.encoder",
        "'features'": "mtl_backward needs to know where the heads begin: features=features",
        "has no attribute 'backward'": "mtl_backward(losses, features=features) takes the list",
    }
)
def use_both(train: Train) -> str:
    """A plain multi-task training, made to use GradVac and Adam_C."""
    model = _start()
    found: Any = train(model, _batches())
    if not isinstance(found, tuple) or len(found) != 2:
        raise NotYet(f"return two things, optimizer and vaccine; got {type(found).__name__}.")
    if isinstance(found[1], Optimizer):
        raise NotYet("the two things are swapped: first the optimizer, then the vaccine.")
    _check_optimizer(found[0], model)
    _check_vaccine(found[1], model)
    _check_weights(model, *found)
    return (
        f"After {_STEPS} steps every weight is what it should be; the memory has seen {_STEPS} "
        "gradients, and the vaccine kept its targets from step to step."
    )


def _start() -> SharedEncoder:
    """Two tasks: with more, the vaccine draws an order, which depends on who drew before."""
    return SharedEncoder((64, 12, 6), tasks=2, seed=3).double()


def _batches() -> list[tuple[Tensor, Tensor]]:
    train = answers().train
    rows = torch.randperm(len(train.y), generator=torch.Generator().manual_seed(3))
    parts = rows[: 25 * _STEPS].view(_STEPS, 25)
    return [(train.x[part].double(), train.y[part].double()) for part in parts]


def _check_optimizer(optimizer: Any, model: SharedEncoder) -> None:
    if not isinstance(optimizer, Adam_C):
        kind = type(optimizer).__name__
        raise NotYet(f"the optimizer is {kind}, and the exercise asks for Adam_C.")
    its = {p for group in optimizer.param_groups for p in group["params"]}
    for name, part in (("heads", model.heads), ("encoder", model.encoder)):
        if set(part.parameters()) - its:
            raise NotYet(
                f"give the optimizer the parameters of the {name} too: model.parameters()."
            )
    for name, value in _SETTINGS.items():
        if (mine := optimizer.param_groups[0][name]) != value:
            raise NotYet(f"{name} is {mine}; leave it at {value}, to compare the weights.")


def _check_vaccine(vaccine: Any, model: SharedEncoder) -> None:
    if not isinstance(vaccine, GroupedGradVac):
        raise NotYet(
            f"the vaccine is a {type(vaccine).__name__}. Each layer is to have its own targets: "
            "GroupedGradVac(all_layer(model.encoder))."
        )
    found, layers = ({*map(frozenset, g)} for g in (vaccine.groups, all_layer(model.encoder)))
    if found != layers:
        raise NotYet(
            f"the vaccine has {len(found)} groups, and not the {len(layers)} of "
            "all_layer(model.encoder), one for each layer, without the heads."
        )
    if vaccine.beta != 0.5:
        raise NotYet(f"beta is {vaccine.beta}; leave it at 0.5, to compare the weights.")


#: What a step calls, in :func:`_trained`'s words.
_RIGHT = "zero_grad mtl_backward jac_to_grad step"

#: What a step calls by mistake, and what to say about it.
_MISTAKES = {
    "zero_grad backward step": "the weights are those of Adam_C on the sum of the losses. Keep the "
    "gradients apart: mtl_backward(losses, features=features), then vaccine.jac_to_grad().",
    "zero_grad backward mtl_backward jac_to_grad step": "the gradients of mtl_backward and those "
    "of sum(losses).backward() add up, so that each counts twice. Keep only mtl_backward.",
    "mtl_backward jac_to_grad step": "without optimizer.zero_grad() in each step, the gradients of "
    "all steps so far add up.",
    "mtl_backward zero_grad jac_to_grad step": "zero_grad between mtl_backward and step takes away "
    "what mtl_backward wrote for the heads. Call it before.",
    "zero_grad mtl_backward step jac_to_grad": "the encoder was not moved: step() comes before "
    "jac_to_grad(), when the encoder has no .grad yet.",
    "mtl_backward step zero_grad jac_to_grad": "step() comes before jac_to_grad(), so the encoder "
    "moves along the gradient of the step before.",
    "zero_grad mtl_backward step": "the encoder was not moved: vaccine.jac_to_grad(), which makes "
    "its .grad of the .jac, was never called.",
    f"new_vaccine {_RIGHT}": "the vaccine is made in each step and so forgets its targets, which "
    "makes it PCGrad. Make it once, before the loop.",
    f"new_optimizer {_RIGHT}": "the optimizer is made in each step and so forgets its memory. Make "
    "it once, before the loop.",
    "zero_grad mtl_backward retain_jac step": "with retain_jac=True the .jac of all steps so far "
    "add up. Leave it out.",
}


def _trained(calls: str) -> Tensor:
    """The weights after a training with these calls in each step."""
    model = _start()
    optimizer = Adam_C(model.parameters(), lr=_LR)
    vaccine = GroupedGradVac(all_layer(model.encoder))
    for x, y in _batches():
        losses, features = model.losses(x, y)
        meant: dict[str, Callable[[], object]] = {
            "zero_grad": optimizer.zero_grad,
            "backward": partial(torch.stack(losses).sum().backward, retain_graph=True),
            "mtl_backward": partial(mtl_backward, losses, features=features),
            "jac_to_grad": vaccine.jac_to_grad,
            "retain_jac": partial(vaccine.jac_to_grad, retain_jac=True),
            "step": optimizer.step,
            "new_vaccine": vaccine.reset,
            "new_optimizer": optimizer.state.clear,
        }
        for call in calls.split():
            meant[call]()
    return parameters_to_vector(model.parameters())


def _check_weights(model: SharedEncoder, optimizer: Adam_C, vaccine: GroupedGradVac) -> None:
    mine, right = parameters_to_vector(model.parameters()), _trained(_RIGHT)
    if not mine.isfinite().all():
        raise NotYet("some weights are not finite.")
    if _close(mine, right):
        return
    if _close(mine, parameters_to_vector(_start().parameters())):
        raise NotYet(
            "no weight has changed. Was optimizer.step() called, and zero_grad not between "
            "jac_to_grad and step?"
        )
    if any(getattr(p, "jac", None) is not None for p in model.heads.parameters()):
        raise NotYet("the heads got a .jac and no .grad. Use mtl_backward in place of backward.")
    if vaccine.targets.shape[-1] == 1:
        raise NotYet("mtl_backward got the sum of the losses. Give it the list of all of them.")
    for calls, message in _MISTAKES.items():
        vaccinated = "jac" in calls  # some mistakes differ in this alone
        if vaccinated == (vaccine.report is not None) and _close(mine, _trained(calls)):
            raise NotYet(message)
    steps = optimizer.state[next(model.parameters())]["step"]
    raise NotYet(
        f"after {_STEPS} mini-batches the optimizer has made {steps:g} steps, and the weights are "
        f"up to {(mine - right).abs().max():.1g} off. Each mini-batch is one step, on the list of "
        "losses as it is."
    )


def _close(mine: Tensor, other: Tensor) -> bool:
    return torch.allclose(mine, other, rtol=0, atol=1e-9)


#: model, optimizer, scheduler, vaccine, generator of the mini-batches -> what goes into a file
Checkpoint = Callable[..., dict[str, Any]]

#: What came from the file, and the same five -> nothing
Resume = Callable[..., None]

_PARTS = attrgetter("model", "optimizer", "scheduler", "vaccine", "draws")


@check()
def save_and_resume(checkpoint: Checkpoint, resume: Resume) -> str:
    """Interrupt a training and resume it, equal to the bit."""
    data, steps = answers(THREE_QUESTIONS), 12

    def begin(seed: int) -> Training:
        def scheduler(optimizer: Optimizer) -> CosineAnnealingLR:
            return CosineAnnealingLR(optimizer, 40)

        return Training(data, METHODS["GradVac, Adam_C"], 0.01, seed, scheduler, (64, 12, 6))

    untouched, through, resumed = begin(0), begin(0), begin(1)
    for training in (untouched, through) * steps:
        training.step()
    saved = checkpoint(*_PARTS(through))
    _check_plain(saved)
    resume(through_file(saved), *_PARTS(resumed))
    _check_resumed(through, resumed)
    for training in (untouched, through, resumed) * steps:
        training.step()
    if not torch.equal(untouched.weights(), through.weights()):
        raise NotYet(
            "saving a training has changed it. A checkpoint only looks: no step, no zero_grad, no "
            "random number drawn."
        )
    if not torch.equal(untouched.weights(), resumed.weights()):
        raise NotYet("all parts are there, and yet the trainings part. Was something replaced?")
    return f"{steps} steps after the interruption all weights are equal, to the bit."


def _kind(value: Any) -> str:
    return "None" if value is None else f"a {type(value).__name__}"


def _check_plain(saved: Any) -> None:
    if not isinstance(saved, dict):
        raise NotYet(f"checkpoint returns {_kind(saved)}, not a dictionary.")
    for name, part in saved.items():
        try:
            through_file({"part": part})
        except (PickleError, AttributeError, RuntimeError, TypeError) as error:
            raise NotYet(
                f"what is saved as {name!r}, {_kind(part)}, is nothing that "
                "torch.load(weights_only=True) reads. Save what state_dict() and get_state() "
                "return (with parentheses), not the objects themselves."
            ) from error


def _check_resumed(saved: Any, resumed: Any) -> None:
    """Raise for the first part in which a resumed training is not where the other was saved."""
    if not torch.equal(resumed.weights(), saved.weights()):
        raise NotYet("the resumed model has other weights.")
    optimizer, vaccine = resumed.optimizer, resumed.vaccine
    if not optimizer.state:
        raise NotYet("the optimizer starts afresh; optimizer.state_dict() has averages and memory.")
    if not len(optimizer.memory(next(resumed.model.parameters()))):
        raise NotYet("the optimizer's memory is empty; optimizer.state_dict() has it.")
    if not _same(optimizer.state_dict(), saved.optimizer.state_dict()):
        raise NotYet("the optimizer is not where it was saved; load its state_dict() as it is.")
    if resumed.scheduler.last_epoch != saved.scheduler.last_epoch:
        raise NotYet("the scheduler starts afresh; it has a state_dict() too.")
    if vaccine.targets.shape != saved.vaccine.targets.shape:
        raise NotYet("the vaccine has lost its targets; vaccine.state_dict() has them.")
    if not isinstance(vaccine.generator, torch.Generator):
        raise NotYet(
            f"vaccine.generator has been replaced by {_kind(vaccine.generator)}; "
            "vaccine.load_state_dict(...) resumes it."
        )
    if not torch.equal(resumed.draws.get_state(), saved.draws.get_state()):
        raise NotYet("the next mini-batches will be others; draws.get_state() saves the generator.")
    if not torch.equal(vaccine.generator.get_state(), saved.vaccine.generator.get_state()):
        raise NotYet(
            "the vaccine will meet the tasks in other orders: load its state_dict() as it is. It "
            "holds the state of its generator beside the targets."
        )


def _same(mine: dict[str, Any], saved: dict[str, Any]) -> bool:
    return mine["param_groups"] == saved["param_groups"] and all(
        torch.equal(mine["state"][key][name], of_one[name])
        for key, of_one in saved["state"].items()
        for name in ("step", "exp_avg", "exp_avg_sq")
    )
