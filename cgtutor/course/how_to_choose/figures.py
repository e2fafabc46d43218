"""Figures about choosing a memory. Each function draws one and returns it."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
from matplotlib.colors import LogNorm
from matplotlib.ticker import NullLocator, PercentFormatter, StrMethodFormatter

from cgtutor.course.how_to_choose.study import Spike, age_shares, final, name
from cgtutor.course.shared.style import GREY, STYLE, Picture, looks, subplots
from cgtutor.course.shared.training import Curves


def spike_priorities(spikes: Mapping[str, Spike]) -> Picture:
    """The priority of one large gradient, step by step, until it has to go.

    Both scales are logarithmic. A dotted line is the norm of all other gradients, 1.

    Args:
        spikes: by name, what :func:`.choosing.spike` saw.
    """
    with plt.rc_context(STYLE):
        figure, ax = subplots(figsize=(8, 4))
        said = []
        for label, look in looks(spikes):
            seen = spikes[label]
            steps = range(1, len(seen.priorities) + 1)
            stays = f"still kept after {len(steps)} steps"
            if seen.survives is not None:
                stays = f"evicted at step {seen.survives}"
                last = seen.priorities[-1]
                ax.plot(seen.survives, max(last, 0.01), clip_on=False, **look, markersize=9)
            line = {"color": look["color"], "linestyle": look["linestyle"], "linewidth": 2}
            heights = [max(p, 0.01) for p in seen.priorities]
            ax.plot(steps, heights, label=f"{label}: {stays}", **line)
            said.append(f"{label}: {stays}")
        ax.axhline(1, color=GREY, linestyle=":", linewidth=2, label="norm of all other gradients")
        ax.set(xscale="log", yscale="log", xlim=(0.9, 1200), ylim=(0.01, 1200))
        ax.set(xlabel="steps since the large gradient came in", ylabel="its priority")
        for axis in (ax.xaxis, ax.yaxis):
            axis.set_major_formatter(StrMethodFormatter("{x:g}"))
            axis.set_minor_locator(NullLocator())
        figure.legend(loc="outside upper center", ncols=2, fontsize="small")
        figure.alt = (
            "The priority of one large gradient falls step by step, on logarithmic scales, towards "
            f"a dotted line at 1, the norm of all others. {'; '.join(said)}."
        )
    return figure


def age_histogram(recorded: Mapping[str, Sequence[int]]) -> Picture:
    """A histogram of the ages of what is in the memory: bars side by side for each memory.

    Args:
        recorded: by name, all ages in steps, as :func:`.choosing.recorded_ages` gives them.
    """
    hatches = ["", "///", "...", "xxx"]
    with plt.rc_context(STYLE):
        figure, ax = subplots(figsize=(8, 3.8))
        width, said = 0.8 / len(recorded), []
        for k, (label, look) in enumerate(looks(recorded)):
            shares = list(age_shares(recorded[label]).values())
            left = [i - 0.4 + k * width for i in range(len(shares))]
            face = {"facecolor": look["color"], "edgecolor": "white", "hatch": hatches[k]}
            ax.bar(left, shares, width, align="edge", label=label, **face)
            said.append(f"{label}: {sum(shares[:2]):.0%} younger than 10 steps")
        labels = list(age_shares([0]))
        ax.set_xticks(range(len(labels)), labels)
        ax.set(xlabel="age in steps (classes of different width)", ylabel="share of the slots")
        ax.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        ax.grid(visible=False, axis="x")
        ax.tick_params(axis="x", length=0)
        figure.legend(loc="outside upper center", ncols=len(recorded))
        figure.alt = (
            "Bars: which share of the slots holds gradients of which age, for "
            f"{len(recorded)} memories. {'; '.join(said)}."
        )
    return figure


def settings_map(
    results: Mapping[str, Mapping[float, Sequence[Curves]]],
    topCs: Sequence[int],
    decays: Sequence[float],
    plain: Mapping[float, Sequence[Curves]],
) -> Picture:
    """A heat map of topC and decay for each learning rate; below it, the base optimizer.

    A cell says the validation loss after the last epoch, mean and standard deviation over the
    seeds. All panels share one logarithmic scale; bright is low, that is, good.

    Args:
        results: ``results[name(topC, decay)][lr]``, see :func:`.choosing.memories`.
        topCs: the rows.
        decays: the columns.
        plain: the base optimizer's runs, at these learning rates at least.
    """
    rates = list(next(iter(results.values())))
    cells = {
        lr: [[final(results[name(topC, decay)][lr]) for decay in decays] for topC in topCs]
        for lr in rates
    }
    base = {lr: final(plain[lr]) for lr in rates}
    means = [m for lr in rates for row in cells[lr] for m, _ in row] + [m for m, _ in base.values()]
    scale = LogNorm(min(means), max(means))
    said = []
    with plt.rc_context(STYLE):
        figure, axes = subplots(1, len(rates), figsize=(8, 4.2), sharey=True, squeeze=False)
        low, right = len(topCs) - 0.5, len(decays) - 0.5
        for ax, lr in zip(axes[0], rates):
            rows = [[m for m, _ in row] for row in cells[lr]]
            look = {"cmap": "cividis_r", "norm": scale, "aspect": "auto"}
            image = ax.imshow(rows, extent=(-0.5, right, low, -0.5), **look)
            ax.imshow([[base[lr][0]]], extent=(-0.5, right, low + 1.15, low + 0.15), **look)
            places = [
                (j, i, cells[lr][i][j]) for i in range(len(topCs)) for j in range(len(decays))
            ]
            for x, y, (value, spread) in [*places, (right / 2 - 0.25, low + 0.65, base[lr])]:
                dark = scale(value) > 0.5
                text = f"{value:.2f}\n± {spread:.2f}"
                color = "white" if dark else "black"
                ax.text(x, y, text, ha="center", va="center", color=color, fontsize=10)
            ax.set(xlim=(-0.5, right), ylim=(low + 1.15, -0.5))
            ax.set_xticks(range(len(decays)), [f"decay {decay:g}" for decay in decays])
            ax.xaxis.tick_top()
            ax.set_yticks(
                [*range(len(topCs)), low + 0.65], [*(f"topC {topC}" for topC in topCs), "plain"]
            )
            ax.tick_params(length=0)
            ax.set_title(f"learning rate {lr:g}", fontsize="medium")
            ax.grid(visible=False)
            ax.spines[:].set_visible(False)
            best = min((cells[lr][i][j][0], i, j) for j, i, _ in places)
            said.append(
                f"At the learning rate {lr:g} plain has {base[lr][0]:.2f}, and the best memory "
                f"{best[0]:.2f} with {name(topCs[best[1]], decays[best[2]])}; the worst has "
                f"{max(max(row) for row in rows):.2f}."
            )
        bar = figure.colorbar(image, ax=axes[0], location="right", aspect=30, fraction=0.05)
        bar.set_label("validation loss (nats, logarithmic)")
        ticks = [t for t in (0.1, 0.2, 0.5, 1, 2, 5) if min(means) <= t <= max(means)]
        bar.set_ticks(ticks, labels=[f"{t:g}" for t in ticks])
        bar.ax.yaxis.set_minor_locator(NullLocator())
        figure.alt = "Heat maps of the validation loss, topC by decay. " + " ".join(said)
    return figure


def memory_costs(
    times: Mapping[str, Mapping[int, float]],
    sizes: Mapping[str, Mapping[int, float]],
    base: str,
    base_size: float,
) -> Picture:
    """Time of a step and what the optimizer keeps, against topC, beside the base optimizer.

    The alternative text has the exact sizes and no time, since times were measured.

    Args:
        times: by optimizer and topC, time of a step; the base optimizer's is 1.
        sizes: by optimizer and topC, bytes kept; the parameters' own are 1.
        base: name of the base optimizer.
        base_size: bytes that it keeps.
    """
    with plt.rc_context(STYLE):
        figure, (left, right) = subplots(1, 2, figsize=(8, 3.8))
        said = []
        for label, look in looks(times):
            left.plot(list(times[label]), list(times[label].values()), label=label, **look)
            right.plot(list(sizes[label]), list(sizes[label].values()), **look)
            (least, small), *_, (most, large) = sizes[label].items()
            said.append(
                f"{label} keeps {small:.0f} times the parameters' bytes with topC {least} and "
                f"{large:.0f} times with topC {most}"
            )
        for ax, height in ((left, 1.0), (right, base_size)):
            ax.axhline(height, color=GREY, linestyle=":", linewidth=2, label=base)
            ax.set(
                xlabel="topC",
                ylim=(0, None),
                xlim=(0, None),
                xticks=[0, *next(iter(times.values()))],
            )
        left.set(ylabel=f"time of a step ({base} = 1)")
        right.set(ylabel="bytes kept (parameters = 1)")
        handles, labels = left.get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=len(labels))
        figure.alt = (
            f"Left, measured times of a step against topC, {base} as the line at 1. Right, what is "
            f"kept: {'; '.join(said)}; {base} keeps {base_size:.0f} times."
        )
    return figure
