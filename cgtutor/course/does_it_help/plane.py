"""Points of two classes in the plane, and what a model says of the plane."""

import torch
from sklearn.datasets import make_blobs
from torch import nn

from cgtutor.course.does_it_help.alone import Array
from cgtutor.course.does_it_help.problems import Part


def points() -> tuple[Part, Part]:
    """Two clouds that overlap: 100 points to train on, and 1000 to test on."""
    centers = [(-1.0, -1.0), (1.0, 1.0)]
    x, y = make_blobs(1100, centers=centers, cluster_std=1.0, random_state=0)
    x = ((x - x[:100].mean(0)) / x[:100].std(0)).round(6)  # the same on all machines
    return Part(x[:100], y[:100]), Part(x[100:], y[100:])


@torch.no_grad()
def ground(model: nn.Module, count: int = 61) -> Array:
    """The class that a model gives to each point of a square grid from -3 to 3."""
    ticks = torch.linspace(-3, 3, count)
    across, up = torch.meshgrid(ticks, ticks, indexing="xy")
    logits = model(torch.stack([across, up], dim=-1))
    return logits.argmax(-1).numpy()


@torch.no_grad()
def right(model: nn.Module, test: Part) -> float:
    """Percent of the test points that get their class."""
    guess = model(torch.tensor(test.x)).argmax(-1)
    return 100 * (guess == torch.tensor(test.y)).double().mean().item()
