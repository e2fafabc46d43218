"""The figures of the notebook *which gradients to keep*."""

import math
from collections.abc import Mapping, Sequence
from statistics import mean
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from cgtutor.course.shared.replay import Lifetimes
from cgtutor.course.shared.style import GREY, LOOKS, ORANGE, STYLE, Picture, band, looks, subplots
from cgtutor.course.which_gradients_to_keep.study import Course, slots, steps_kept

SHADES = 64  #: of ages: few enough that a picture of 128 colours has each of them


def _in_the_cells(ax: Any, ages: Tensor, oldest: float) -> None:
    for slot, row in enumerate(ages.tolist(), start=1):
        for step, age in enumerate(row):
            if not math.isnan(age):
                color = "black" if age >= oldest / 2 else "white"
                ax.text(step, slot, f"{age:.0f}", ha="center", va="center", color=color)


def slots_over_time(runs: Mapping[str, Lifetimes], mark: int | None = None) -> Picture:
    """What is in each of a memory's slots after each step, coloured by its age; and the norms.

    Args:
        runs: by name, what memories did with the same sequence of norms. In a small figure the
            ages are written into the cells.
        mark: a step to point at, that of a spike, say.
    """
    norms = next(iter(runs.values())).norms
    ages = {name: slots(lives) for name, lives in runs.items()}
    oldest = max(1, *(max(lives.oldest) for lives in runs.values()))
    heights = [max(1.4, 0.16 * len(a)) for a in ages.values()]
    said = []
    with plt.rc_context(STYLE):
        figure, axes = subplots(
            len(runs) + 1,
            1,
            figsize=(8, 2.2 + 1.15 * sum(heights)),
            sharex=True,
            height_ratios=[*heights, 1.4],
        )
        for ax, (name, lives) in zip(axes, runs.items()):
            image = ax.imshow(
                ages[name].numpy(),
                aspect="auto",
                interpolation="none",
                cmap=plt.get_cmap("cividis", SHADES),
                vmin=0,
                vmax=oldest,
                extent=(-0.5, len(norms) - 0.5, len(ages[name]) + 0.5, 0.5),
            )
            if ages[name].numel() <= 40:
                _in_the_cells(ax, ages[name], oldest)
            memory = lives.memory
            counts = f"{memory.rejected} of {len(norms)} rejected"
            if mark is not None:
                counts += f", that of step {mark} kept for {steps_kept(lives, mark)} steps"
            ax.set_title(f"{name}: {counts}", loc="left", fontsize="medium")
            ax.set(ylabel="slot")
            ax.yaxis.set_major_locator(MaxNLocator(4, integer=True))
            ax.grid(visible=False)
            said.append(f"{name}: {counts}, the oldest {max(lives.oldest)} steps old")
        marker = "." if len(norms) <= 150 else ""
        axes[-1].plot(range(len(norms)), norms, color=ORANGE, marker=marker, linewidth=1)
        axes[-1].set(xlabel="step", ylabel="norm", ylim=(0, None))
        axes[-1].xaxis.set_major_locator(MaxNLocator(6, integer=True))
        axes[-1].yaxis.set_major_locator(MaxNLocator(3))  # each tick takes time in an explorer
        if mark is not None:
            axes[-1].axvline(mark, color=GREY, linestyle=":")
        ticks = MaxNLocator(4, integer=True)
        figure.colorbar(image, ax=list(axes[:-1]), label="age in steps", ticks=ticks)
    figure.alt = (
        f"A grid of slots by {len(norms)} steps for each of these memories, coloured by the age of "
        "the gradient in the slot, which starts dark when a gradient is inserted and gets lighter; "
        f"below them the norms. {'; '.join(said)}."
    )
    return figure


def _tenths(value: float) -> str:
    return f"{round(value, 1) + 0:.1f}"  # 0.0 in place of -0.0


def agreement_by_decay(found: Mapping[str, Mapping[float, Sequence[float]]]) -> Picture:
    """How well what a memory keeps agrees with the gradient of all data, by ``decay``.

    Args:
        found: by name and ``decay``, cosines, one for each seed.
    """
    said = []
    with plt.rc_context(STYLE):
        figure, ax = subplots(figsize=(7, 3.8))
        for name, look in looks(found):
            values = found[name]
            band(ax, range(len(values)), values.values(), label=name, **look)
            said.append(
                f"{name}, " + ", ".join(f"{_tenths(mean(v))} at {d:g}" for d, v in values.items())
            )
        ax.set_xticks(range(len(values)), [f"{decay:g}" for decay in values])
        ax.axhline(0, color=GREY, linewidth=1)
        ax.set(xlabel="decay", ylabel="mean cosine", ylim=(-0.5, 1.05))
        figure.legend(
            loc="outside upper center",
            ncols=len(found),
            title="line: mean over the seeds; band: their range",
            title_fontsize="small",
        )
    figure.alt = (
        "Mean cosine of what is kept with the gradient of all data, by decay: "
        + "; ".join(said)
        + "."
    )
    return figure


def _rise(runs: Sequence[Course], bad: int) -> float:
    after = next(i for i, step in enumerate(runs[0].steps) if step > bad)
    return mean(run.validation_loss[after] - run.validation_loss[after - 1] for run in runs)


def after_bad_batch(runs: Mapping[str, Mapping[str, Sequence[Course]]], bad: int = 100) -> Picture:
    """Validation loss over the steps of trainings with a bad mini-batch: mean and range of seeds.

    Args:
        runs: by the panel's title and by name, at most four names, one course for each seed.
        bad: the step with the bad mini-batch.
    """
    said, jumps = [], []
    with plt.rc_context(STYLE):
        figure, axes = subplots(1, len(runs), figsize=(8, 4), sharey=True, squeeze=False)
        for ax, (title, panel) in zip(axes[0], runs.items()):
            for name, look in looks(panel):
                losses = zip(*(run.validation_loss for run in panel[name]))
                band(ax, panel[name][0].steps, losses, label=name, **look)
            ax.axvline(bad, color=GREY, linewidth=1, linestyle=":", zorder=0)
            ax.set(xlabel="step")
            ax.set_title(title, fontsize="medium")
            ends = (f"{n} {mean(r.validation_loss[-1] for r in panel[n]):.1f}" for n in panel)
            said.append(f"{title}: {', '.join(ends)}")
            jumps.append(f"{max(panel, key=lambda n: _rise(panel[n], bad))} ({title})")
        axes[0, 0].set(ylabel="validation loss", ylim=(0, None))  # of all panels, all drawn
        figure.legend(
            *axes[0, 0].get_legend_handles_labels(),
            loc="outside upper center",
            ncols=len(LOOKS),
            title=f"line: mean over the seeds; band: their range; bad mini-batch at step {bad}",
            title_fontsize="small",
        )
    figure.alt = (
        f"Validation loss over the steps, with a bad mini-batch at step {bad}, one panel for each "
        f"learning rate. Right after that step it rises most for {' and '.join(jumps)}. At the end "
        f"it is, with {'; with '.join(said)}."
    )
    return figure
