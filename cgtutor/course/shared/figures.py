"""Figures that two notebooks or more draw."""

from collections.abc import Mapping, Sequence
from statistics import mean

import matplotlib.pyplot as plt
from matplotlib.ticker import LogLocator, NullLocator, PercentFormatter, StrMethodFormatter
from torch import Tensor

from cgtutor.course.shared.style import (
    BLUE,
    ORANGE,
    STYLE,
    Picture,
    band,
    looks,
    named,
    series,
    subplots,
)
from cgtutor.course.shared.training import Curves


def pictures(images: Tensor, labels: Tensor) -> Picture:
    """A row of grey-scale pictures, each under its label.

    Args:
        images: shape (n, height, width), 0 (white) to 1 (black).
        labels: shape (n,).
    """
    with plt.rc_context(STYLE):
        figure, axes = subplots(1, len(images), figsize=(8, 1.3), squeeze=False)
        for ax, image, label in zip(axes[0], images, labels):
            ax.imshow(image.numpy(), cmap="gray_r", vmin=0, vmax=1)
            ax.set(title=str(label.item()), xticks=[], yticks=[])
            ax.grid(visible=False)
            ax.spines[:].set_visible(False)
    figure.alt = (
        f"{len(images)} grey-scale pictures of {images.shape[1]} by {images.shape[2]} pixels in a "
        f"row, labelled {series(str(label.item()) for label in labels)}."
    )
    return figure


def _legend(figure: Picture, names: Sequence[str]) -> None:
    figure.legend(
        loc="outside upper center",
        ncols=min(2, len(names)),
        title="line: mean over the seeds; band: from the worst to the best of them",
        title_fontsize="small",
    )


def learning_curves(runs: Mapping[str, Sequence[Curves]]) -> Picture:
    """Training loss and validation accuracy by epoch: mean and range over the seeds."""
    with plt.rc_context(STYLE):
        figure, (left, right) = subplots(1, 2, figsize=(8, 3.8))
        for name, look in looks(runs):
            curves = runs[name]
            epochs = range(1, len(curves[0].train_loss) + 1)
            band(left, epochs, zip(*(c.train_loss for c in curves)), label=name, **look)
            band(right, epochs, zip(*(c.validation_accuracy for c in curves)), **look)
        left.set(xlabel="epoch", ylabel="training loss", ylim=(0, None))
        right.set(xlabel="epoch", ylabel="validation accuracy", ylim=(None, 1))
        right.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        _legend(figure, list(runs))
    final = {
        name: f"{mean(c.train_loss[-1] for c in curves):.2f} and "
        f"{mean(c.validation_accuracy[-1] for c in curves):.0%}"
        for name, curves in runs.items()
    }
    figure.alt = (
        "Two panels over the epochs, training loss and validation accuracy, each line the mean of "
        "several seeds with a band for their range. Means of both after "
        f"{len(epochs)} epochs: {named(final)}."
    )
    return figure


def learning_rates(results: Mapping[str, Mapping[float, Sequence[Curves]]]) -> Picture:
    """Validation loss after the last epoch by learning rate: mean and range over the seeds."""
    with plt.rc_context(STYLE):
        figure, ax = subplots(figsize=(6.5, 4))
        for name, look in looks(results):
            trials = results[name]
            final = [[curves.validation_loss[-1] for curves in trials[lr]] for lr in trials]
            band(ax, list(trials), final, label=name, **look)
        ax.set(xlabel="learning rate", ylabel="final validation loss")
        ax.set(xscale="log", yscale="log")
        for axis in (ax.xaxis, ax.yaxis):  # 0.001 and 0.2 rather than powers of ten
            axis.set_major_locator(LogLocator(subs=(1, 2, 5) if axis is ax.yaxis else (1, 3)))
            axis.set_major_formatter(StrMethodFormatter("{x:g}"))
            axis.set_minor_locator(NullLocator())
        _legend(figure, list(results))
    losses = {
        name: series(f"{mean(c.validation_loss[-1] for c in of):.2f}" for of in trials.values())
        for name, trials in results.items()
    }
    figure.alt = (
        "Validation loss after the last epoch over the learning rate, each line the mean of "
        "several seeds with a band for their range. Means at the learning rates "
        f"{series(f'{lr:g}' for lr in trials)}. {named(losses)}."
    )
    return figure


def bars(
    panels: Mapping[str, Mapping[str, float]],
    xlabel: str,
    lines: Mapping[str, float] | None = None,
    longest: float | None = None,
    measured: bool = False,
) -> Picture:
    """Horizontal bars with their numbers, one panel for each group of them, on a common scale.

    Args:
        panels: by the panel's title, the bars' lengths by name.
        xlabel: what the lengths are.
        lines: vertical lines to compare the bars with, by name.
        longest: where the scale ends; by default after the longest bar.
        measured: the lengths differ from run to run, so the alternative text leaves them out.
    """
    dashes = ["--", ":"]
    longest = longest or 1.18 * max(v for panel in panels.values() for v in panel.values())
    with plt.rc_context(STYLE):
        rows = max(len(panel) for panel in panels.values())
        figure, axes = subplots(
            1,
            len(panels),
            figsize=(8, 1.2 + 0.42 * rows),
            sharey=True,
            squeeze=False,
        )
        for ax, (title, panel) in zip(axes[0], panels.items()):
            drawn = ax.barh(list(panel), list(panel.values()), color=BLUE, height=0.6)
            ax.bar_label(
                drawn,
                labels=[f"{v:.3g}" for v in panel.values()],
                padding=3,
                bbox={"facecolor": "white", "edgecolor": "none", "pad": 1},
            )
            for (name, x), dash in zip((lines or {}).items(), dashes):
                ax.axvline(x, color=ORANGE, linestyle=dash, label=name)
            ax.set(xlim=(0, longest))
            ax.set_xlabel(xlabel, fontsize="medium" if len(panels) == 1 else "small")
            ax.set_title(title, fontsize="medium")
            ax.grid(visible=False, axis="y")
        axes[0, 0].invert_yaxis()
        if lines:
            handles, labels = axes[0, 0].get_legend_handles_labels()
            figure.legend(handles, labels, loc="outside upper center", ncols=2)
    figure.alt = f"Bars with their numbers: {xlabel}."
    for title, panel in panels.items():
        lengths = {name: f"{value:.3g}" for name, value in panel.items()}
        figure.alt += f" Panel {title!r}: {'; '.join(panel) if measured else named(lengths)}."
    for name, x in (lines or {}).items():
        figure.alt += f" A line at {x:.3g}: {name}."
    return figure


def limits(points: Tensor, shape: float = 1.0) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Limits, ``shape`` times as wide as high, with room for these points and the origin."""
    low, high = points.amin(0).clamp(max=0), points.amax(0).clamp(min=0)
    wide, high_enough = (high - low).tolist()
    half = 0.58 * max(wide / shape, high_enough, 1.0)
    x, y = ((low + high) / 2).tolist()
    return (x - half * shape, x + half * shape), (y - half, y + half)
