"""The check of notebook 00: can this machine run the course?"""

from collections.abc import Callable

import ipywidgets
import matplotlib.pyplot as plt
from torch import Tensor, nn

from cgtutor.autojac import mtl_backward
from cgtutor.course import requirements
from cgtutor.course.shared.check import NotYet, case, check
from cgtutor.course.shared.data import digits
from cgtutor.course.shared.explorer import Explorer
from cgtutor.course.shared.figures import lifetimes
from cgtutor.course.shared.replay import replay
from cgtutor.grouping import GroupedGradVac, whole_model
from cgtutor.optim import Adam_C
from cgtutor.optim_eff import Adam_C_eff


@check()
def environment(numbers: object) -> str:
    """A tensor of the numbers 1, 2 and 3, with which all parts of the course are then tried."""
    for requirement, found in requirements().items():
        if found != "yes":
            raise NotYet(
                f"the course needs {requirement}, and here it is {found}. Run the set-up cell "
                "again, then restart the kernel (menu Kernel, Restart)."
            )
    if numbers is None or numbers is ...:
        raise NotYet("numbers is still empty. Put a tensor in its place.")
    if not isinstance(numbers, Tensor):
        kind = type(numbers).__name__
        raise NotYet(f"numbers is of type {kind}; torch.tensor([...]) turns a list into a tensor.")
    if numbers.shape != (3,):
        raise NotYet(f"numbers has the shape {tuple(numbers.shape)}, and it should be (3,).")
    if not numbers.is_floating_point():
        raise NotYet("whole numbers have no gradients. Write 1.0 in place of 1.")
    if numbers.tolist() != [1, 2, 3]:
        raise NotYet(f"the numbers are {numbers.tolist()}, and should be 1, 2 and 3.")
    for part, attempt in PARTS.items():
        with case(f"{part} does not work here"):
            attempt(numbers.detach())
    return f"This machine runs the course: {len(PARTS)} parts tried, all work."


def _optimizers(numbers: Tensor) -> None:
    for kind in (Adam_C, Adam_C_eff):
        parameter = nn.Parameter(numbers.clone())
        optimizer = kind([parameter], lr=0.1)
        for _step in range(3):
            optimizer.zero_grad()
            parameter.square().sum().backward()
            optimizer.step()
        if not (parameter < numbers).all():
            raise NotYet(f"{kind.__name__} left the numbers where they were.")
        if not len(optimizer.memory(parameter)):
            raise NotYet(f"{kind.__name__} has inserted nothing into its memory.")


def _vaccine(numbers: Tensor) -> None:
    encoder = nn.Linear(3, 2, dtype=numbers.dtype)
    features = encoder(numbers)
    mtl_backward([features.sum(), -features.square().sum()], features=features)
    GroupedGradVac(whole_model(encoder)).jac_to_grad()
    if encoder.weight.grad is None:
        raise NotYet("GroupedGradVac left no gradient.")


def _explorer(numbers: Tensor) -> None:
    slider = ipywidgets.IntSlider(1, 1, 3)
    explorer = Explorer(
        lambda topC: lifetimes(replay(numbers.tolist(), topC)), {"topC": slider}, goal="none"
    )
    before = explorer.children[-1].value
    slider.value = 2
    explorer.close()
    if explorer.children[-1].value == before:
        raise NotYet("the picture stayed the same when the slider moved.")


def _figure(numbers: Tensor) -> None:
    with plt.ioff():
        plt.close(figure := lifetimes(replay(numbers.tolist())))
    figure.bundle()


#: What the notebooks are made of, each with an attempt that raises where it does not work.
PARTS: dict[str, Callable[[Tensor], object]] = {
    "an optimizer's step": _optimizers,
    "Gradient Vaccine": _vaccine,
    "the data": lambda numbers: digits(),
    "drawing a figure": _figure,
    "an explorer": _explorer,
}
