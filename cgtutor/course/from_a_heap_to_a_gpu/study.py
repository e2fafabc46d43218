"""What is counted and timed in the notebook *from a heap to a gpu*."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

#: Microseconds that the CPU takes to launch an operation, and that an answer is on its way.
LAUNCH, ANSWER = 5.0, 10.0

#: The shortest time of an operation, in microseconds, and how many bytes move in one.
SHORTEST, BYTES = 2.0, 2e6

#: What passes through torch's dispatcher beside operations on numbers.
_NO_WORK = ("aten::promote_types", "aten::_local_scalar_dense", "aten::lift_fresh")


class Launches(TorchDispatchMode):
    """Counts the operations that torch is asked for, by name: a GPU would get them all.

    Views are left out, because they move no numbers. An operation on a list of tensors counts
    once; on a GPU it is one kernel, or a few if the list is long.

    >>> with Launches() as launched:
    ...     a = torch.ones(3)
    ...     b = a[:2] + a[1:]
    >>> launched.names
    ['ones', 'add']
    """

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __len__(self) -> int:
        """How many there were."""
        return len(self.names)

    def __torch_dispatch__(
        self, operation: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Note the operation, then do it."""
        name = operation._schema.name
        if name.startswith("aten::") and not operation.is_view and name not in _NO_WORK:
            self.names.append(name.removeprefix("aten::"))
        return operation(*args, **(kwargs or {}))


def tensors_of(count: int, elements: int = 8, device: str = "cpu") -> list[nn.Parameter]:
    """So many parameters, each with a gradient of ones."""
    parameters = [nn.Parameter(torch.zeros(elements, device=device)) for _ in range(count)]
    for p in parameters:
        p.grad = torch.ones_like(p)
    return parameters


def launched(optimizer: Any, fill: int) -> list[str]:
    """The operations of one step, by name, after so many steps that fill the memory."""
    for _ in range(fill):
        optimizer.step()
    with Launches() as seen:
        optimizer.step()
    return seen.names


class Graphs:
    """A backend for torch.compile that counts the graphs it gets, and runs them as they are."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, graph: torch.fx.GraphModule, inputs: Sequence[Tensor]) -> Callable[..., Any]:
        """Take a graph."""
        self.count += 1
        return graph.forward


class Job(NamedTuple):
    """An operation for the GPU."""

    kind: str  #: "norm", "insert" or "other"
    work: float  #: how long the GPU takes, in microseconds
    look: bool = False  #: whether the CPU waits for the result before it goes on


class Task(NamedTuple):
    """Something that a processor does, and when, in microseconds."""

    processor: str  #: "CPU" or "GPU"
    kind: str  #: "launch" or "wait" on the CPU; on the GPU "backward" or the job's kind
    start: float
    end: float


def queue(
    jobs: Sequence[Job], backward: float = 0, launch: float = LAUNCH, answer: float = ANSWER
) -> list[Task]:
    """Who does what and when: a GPU and its queue, in a model that fits on one page.

    The CPU launches jobs one after the other; the GPU works them off in order.

    Args:
        jobs: in the order of their launches.
        backward: how long the GPU is still busy with the backward pass at first.
        launch: how long the CPU takes to launch a job (microseconds, like all times here).
        answer: how long a number is on its way from the GPU to the CPU.
    """
    tasks = [Task("GPU", "backward", 0, backward)] if backward else []
    cpu, gpu = 0.0, backward
    for job in jobs:
        tasks.append(Task("CPU", "launch", cpu, cpu + launch))
        cpu += launch
        start = max(cpu, gpu)
        gpu = start + job.work
        tasks.append(Task("GPU", job.kind, start, gpu))
        if job.look:
            tasks.append(Task("CPU", "wait", cpu, gpu + answer))
            cpu = gpu + answer
    return tasks


def finished(tasks: Sequence[Task]) -> float:
    """When the last task ends."""
    return max(task.end for task in tasks)


def memories(tensors: int, looks: str) -> list[Job]:
    """For each tensor take the norm and insert the gradient, 8 microseconds each.

    Args:
        tensors: how many there are.
        looks: at which norms the CPU looks: "each", "once" (all of them together) or "never".
    """
    if looks == "each":
        return [Job("norm", 8, look=True), Job("insert", 8)] * tensors
    last = Job("norm", 8, look=looks == "once")
    return [*[Job("norm", 8)] * (tensors - 1), last, *[Job("insert", 8)] * tensors]


def _time(words: float, parameters: float) -> float:
    """Microseconds to move so many words (4 bytes) for each of so many parameters."""
    return max(SHORTEST, 4 * words * parameters / BYTES)


def heap_step(tensors: int, topC: int, parameters: float) -> list[Job]:
    """The operations of a step of SGD_C that inserts its gradient.

    Args:
        tensors: how many the model's parameters are divided into, all of one size.
        topC: gradients kept; the memory is full.
        parameters: of the whole model.
    """
    each = parameters / tensors
    aggregate = [Job("other", _time(2, each)), *[Job("other", _time(3, each))] * topC]
    return [
        Job("norm", _time(1, parameters)),
        Job("other", SHORTEST, look=True),
        *aggregate * tensors,
        Job("other", _time(3, parameters)),
        *[Job("insert", _time(2, each))] * tensors,
    ]


def stacked_step(parameters: float) -> list[Job]:
    """The operations of a step of the notebook's own class, whatever the tensors and topC."""
    large = {"norm": [1], "insert": [2, 3, 3, 3, 2], "other": [2, 2, 3, 3]}
    jobs = [Job(kind, _time(w, parameters)) for kind, words in large.items() for w in words]
    return jobs + [Job("other", SHORTEST)] * 19
