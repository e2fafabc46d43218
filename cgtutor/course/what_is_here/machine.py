"""Does the course run on this machine? Its parts are tried, one after the other."""

from collections.abc import Callable

import ipywidgets
import matplotlib.pyplot as plt
import torch
from torch import nn

from cgtutor.autojac import mtl_backward
from cgtutor.course import requirements
from cgtutor.course.shared.data import digits
from cgtutor.course.shared.explorer import Explorer
from cgtutor.course.shared.style import Picture, subplots
from cgtutor.course.shared.tables import Table, table
from cgtutor.grouping import GroupedGradVac, whole_model
from cgtutor.optim import Adam_C
from cgtutor.optim_eff import Adam_C_eff


def machine() -> Table:
    """What the course needs, and whether it is here and works."""
    rows = [*requirements().items(), *((part, tried(part)) for part in PARTS)]
    return table(rows, ["needed", "found"])


def tried(part: str) -> str:
    """Return "yes" if a part of the course works here, and otherwise what it stopped with."""
    try:
        PARTS[part]()
    except Exception as error:  # whatever it is, the reader should see it in the table
        return f"{type(error).__name__}: {error}".rstrip(": ")
    return "yes"


def _optimizers() -> None:
    for kind in (Adam_C, Adam_C_eff):
        parameter = nn.Parameter(torch.ones(3))
        optimizer = kind([parameter], lr=0.1)
        parameter.square().sum().backward()
        optimizer.step()
        if not (parameter < 1).all() or not len(optimizer.memory(parameter)):
            raise RuntimeError(f"{kind.__name__} took no step")


def _vaccine() -> None:
    encoder = nn.Linear(3, 2)
    features = encoder(torch.ones(3))
    mtl_backward([features.sum(), -features.square().sum()], features=features)
    GroupedGradVac(whole_model(encoder)).jac_to_grad()
    if encoder.weight.grad is None:
        raise RuntimeError("no gradient came out")


def _bar(height: float) -> Picture:
    figure, ax = subplots(height=1)
    ax.bar(0, height)
    ax.set(ylim=(0, 3))
    figure.alt = f"A bar of the height {height}."
    return figure


def _figure() -> None:
    with plt.ioff():
        plt.close(figure := _bar(1))
    figure.bundle()


def _explorer() -> None:
    explorer = Explorer(_bar, {"height": ipywidgets.IntSlider(1, 1, 3)}, goal="none")
    before = explorer.picture.value
    explorer.set(height=2)
    explorer.close()
    if explorer.picture.value == before:
        raise RuntimeError("the picture did not follow the slider")


#: What the notebooks are made of, each with an attempt that raises where it does not work.
PARTS: dict[str, Callable[[], object]] = {
    "an optimizer's step": _optimizers,
    "Gradient Vaccine": _vaccine,
    "the data": digits,
    "a figure": _figure,
    "an explorer": _explorer,
}
