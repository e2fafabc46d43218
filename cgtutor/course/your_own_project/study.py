"""A training as in a project of one's own: optimizer, vaccine, scheduler, checkpoints.

Three yes-or-no questions about a handwritten digit, one network with a shared encoder, and a
:class:`Training` that holds all that lives as long as a training does.
"""

import io
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.utils import parameters_to_vector
from torch.optim import Adam, Optimizer
from torch.optim.lr_scheduler import LRScheduler, StepLR
from torch.optim.optimizer import ParamsT

from cgtutor.course.shared.data import Data, Split, drawn
from cgtutor.course.shared.tasks import QUESTIONS, SharedEncoder, evaluate_tasks, multi_task_step
from cgtutor.course.shared.training import Curves, MakeOptimizer, mean_step
from cgtutor.grouping import GroupedGradVac, all_layer
from cgtutor.optim import Adam_C

#: The two questions of notebook 08 and a third.
THREE_QUESTIONS: dict[str, Collection[int]] = QUESTIONS | {"is it five or more?": (5, 6, 7, 8, 9)}


#: Inputs, then the outputs of each layer of the encoder.
WIDTHS = (64, 32, 8)


#: The mini-batches that count as an epoch.
STEPS_PER_EPOCH = 20


class Method(NamedTuple):
    """How to train.

    Attributes:
        optimizer: builds it from parameters and a learning rate.
        vaccinated: GradVac for each layer of the encoder, or else the sum of the losses.
    """

    optimizer: MakeOptimizer
    vaccinated: bool


def adam(parameters: ParamsT, lr: float) -> Optimizer:
    """Adam as torch has it, in the form that is quickest for small tensors."""
    return Adam(parameters, lr=lr, fused=True)


def adam_c(parameters: ParamsT, lr: float) -> Optimizer:
    """Adam_C with its defaults, on the same form of Adam."""
    return Adam_C(parameters, lr=lr, fused=True)


#: Sum of losses or GradVac, with Adam or Adam_C.
METHODS: dict[str, Method] = {
    "sum, Adam": Method(adam, False),
    "sum, Adam_C": Method(adam_c, False),
    "GradVac, Adam": Method(adam, True),
    "GradVac, Adam_C": Method(adam_c, True),
}


class Training:
    """All that lives as long as a training does.

    Args:
        data: what to train and evaluate on.
        method: how to train.
        lr: learning rate.
        seed: for initial weights, mini-batches and the vaccine's draws; torch's global
            generator is not used.
        scheduler: builds one from the optimizer; by default there is none.
        widths: of the encoder's layers.
        batch_size: pictures in a mini-batch, drawn with replacement.

    Attributes:
        model, optimizer: the network and what updates it.
        vaccine: ``None`` for the sum of the losses.
        scheduler: ``None`` if there is none.
        draws: the generator that draws the mini-batches.
    """

    def __init__(
        self,
        data: Data,
        method: Method,
        lr: float,
        seed: int = 0,
        scheduler: Callable[[Optimizer], LRScheduler] | None = None,
        widths: Sequence[int] = WIDTHS,
        batch_size: int = 50,
    ) -> None:
        self.data, self.batch_size = data, batch_size
        self.model = SharedEncoder(widths, data.train.y.shape[1], seed)
        self.optimizer = method.optimizer(self.model.parameters(), lr)
        self.scheduler = None if scheduler is None else scheduler(self.optimizer)
        self.draws = torch.Generator().manual_seed(seed)
        self.vaccine: GroupedGradVac | None = None
        if method.vaccinated:
            orders = torch.Generator().manual_seed(seed)
            self.vaccine = GroupedGradVac(all_layer(self.model.encoder), generator=orders)

    def batch(self) -> Split:
        """The next mini-batch."""
        return drawn(self.data.train, self.batch_size, self.draws)

    def step(self) -> list[float]:
        """Train on one mini-batch; returns the tasks' losses, in nats."""
        losses, features = self.model.losses(*self.batch())
        aggregate = None if self.vaccine is None else self.vaccine.jac_to_grad
        multi_task_step(self.optimizer, losses, features, aggregate)
        if self.scheduler is not None:
            self.scheduler.step()
        return [loss.item() for loss in losses]

    def weights(self) -> Tensor:
        """A copy of all parameters, in one vector."""
        return parameters_to_vector(self.model.parameters()).detach().clone()

    def state_dict(self) -> dict[str, Any]:
        """All that a training has to have in order to go on, by part."""
        state: dict[str, Any] = {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "draws": self.draws.get_state(),
        }
        if self.scheduler is not None:
            state["scheduler"] = self.scheduler.state_dict()
        if self.vaccine is not None:
            state["vaccine"] = self.vaccine.state_dict()
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over the parts that are in ``state``; the others stay as they are."""
        for name in ("model", "optimizer", "scheduler", "vaccine"):
            if name in state and getattr(self, name) is not None:
                getattr(self, name).load_state_dict(state[name])
        if "draws" in state:
            self.draws.set_state(state["draws"])


def train_method(method: Method, lr: float, seed: int, data: Data, epochs: int = 10) -> Curves:
    """A whole :class:`Training`, evaluated after each epoch; for :func:`.sweep`.

    Losses and accuracies are means of the tasks.
    """
    training = Training(data, method, lr, seed)
    curves = Curves([], [], [], 0.0)
    for _ in range(epochs):
        for _ in range(STEPS_PER_EPOCH):
            training.step()
        curves.train_loss.append(evaluate_tasks(training.model, data.train)[0])
        loss, hits = evaluate_tasks(training.model, data.validation)
        curves.validation_loss.append(loss)
        curves.validation_accuracy.append(hits.mean().item())
    hits = evaluate_tasks(training.model, data.test)[1]
    return curves._replace(test_accuracy=hits.mean().item())


def mean_step_of(training: Training, steps: int = 200) -> float:
    """Train on for so many steps; how far all parameters together move in one, on average."""
    points = [training.weights()]
    for _ in range(steps):
        training.step()
        points.append(training.weights())
    return mean_step(points)


def learning_rate_of_each_step(
    data: Data,
    method: Method,
    lr: float,
    scheduler: Callable[[Optimizer], LRScheduler],
    steps: int,
) -> list[float]:
    """The learning rates that a training's steps are made with."""
    training = Training(data, method, lr, scheduler=scheduler)
    rates = []
    for _ in range(steps):
        rates.append(training.optimizer.param_groups[0]["lr"])
        training.step()
    return rates


def through_file(state: Mapping[str, Any]) -> Any:
    """What is there again after ``torch.save`` and ``torch.load``, which runs no foreign code."""
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def without(state: Mapping[str, Any], part: str) -> dict[str, Any]:
    """A saved state that lacks a part: one of its keys, or ``"memory"`` of the optimizer."""
    if part != "memory":
        return {name: value for name, value in state.items() if name != part}
    optimizer = state["optimizer"]
    kept = {
        key: {name: value for name, value in of_one.items() if not name.startswith("critical_")}
        for key, of_one in optimizer["state"].items()
    }
    return {**state, "optimizer": {**optimizer, "state": kept}}


def interrupted(
    make: Callable[[], Training],
    part: str = "",
    before: int = 60,
    after: int = 20,
) -> float:
    """Stop a training, resume it from a file that lacks a part, and compare with going through.

    Args:
        make: begins the training, always in the same way.
        part: what is left out of the file, as in :func:`without`; by default nothing.
        before: steps before the interruption.
        after: steps after it.

    Returns:
        The distance of the two trainings' weights at the end, as a share of how far the one that
        went through has moved since the interruption.
    """
    through = make()
    for _ in range(before):
        through.step()
    saved, there = through_file(without(through.state_dict(), part)), through.weights()
    resumed = make()
    resumed.load_state_dict(saved)
    for _ in range(after):
        through.step()
        resumed.step()
    end = through.weights()
    return ((resumed.weights() - end).norm() / (end - there).norm()).item()


def slots_from_before(
    data: Data,
    decay: float,
    topC: int = 10,
    seed: int = 0,
    drop: int = 100,
    after: int = 80,
    lr: float = 0.01,
    then_decay: float | None = None,
) -> list[int]:
    """How many gradients in the memory are from before the learning rate was divided by ten.

    Args:
        data: what to train on.
        decay: the memory's.
        topC: the memory's.
        seed: the training's.
        drop: steps before the learning rate is divided by ten.
        after: steps after that.
        lr: the learning rate before it.
        then_decay: the memory's ``decay`` from the division on; by default it stays.

    Returns:
        A number for each of the steps after it; the first is that after one step.
    """

    def build(parameters: ParamsT, lr: float) -> Optimizer:
        return Adam_C(parameters, lr=lr, decay=decay, topC=topC)

    training = Training(data, Method(build, False), lr, seed, lambda o: StepLR(o, drop))
    parameter = next(training.model.parameters())
    counts = []
    for step in range(1, drop + after + 1):
        training.step()
        if step == drop and then_decay is not None:
            training.optimizer.param_groups[0]["decay"] = then_decay
        if step > drop:
            assert isinstance(training.optimizer, Adam_C)
            ages = training.optimizer.memory(parameter).ages
            counts.append(sum(age >= step - drop for age in ages))
    return counts
