"""What the studies found, as curves for the figures and as tables to print."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from cgtutor.course.does_it_help.alone import Array
from cgtutor.course.does_it_help.problems import AUTHORS_LEVELS, FAIR_LEVELS, Setting, setting
from cgtutor.course.does_it_help.studies import (
    GRIDS,
    PAIRS,
    AuthorsResult,
    FairResult,
    fair_settings,
    interval,
)

#: What the curves are called.
NAMES = ("without memory", "with memory (_C)", "without memory, twice the learning rate")


class Curve(NamedTuple):
    """A line with a band: four sequences of the same length."""

    x: Sequence[float]
    mean: Array
    low: Array
    high: Array


def over_seeds(x: Sequence[float], values: Array) -> Curve:
    """Mean, smallest and largest of values of shape (len(x), seeds)."""
    return Curve(x, values.mean(1), values.min(1), values.max(1))


def over_data_sets(x: Sequence[float], values: Array) -> Curve:
    """Mean and its 95 % confidence interval, of values of shape (D, len(x))."""
    mean, half = interval(values)
    return Curve(x, mean, mean - half, mean + half)


def larger_class(levels: Mapping[str, Sequence[float]]) -> dict[str, list[float]]:
    """For each study and level, how often who always names the larger class is right."""
    return {study: [1 - setting(study, x).minority for x in xs] for study, xs in levels.items()}


def authors_panels(
    found: AuthorsResult, doubled: AuthorsResult
) -> dict[str, dict[str, dict[str, Curve]]]:
    """Curves by study, optimizer and name, over the seeds.

    Args:
        found: what their protocol finds.
        doubled: the same with twice the learning rate.
    """
    return {
        study: {
            base: {
                name: over_seeds(levels, values)
                for name, values in zip(
                    NAMES,
                    (
                        found.best[study][base],
                        found.best[study][memory],
                        doubled.best[study][base],
                    ),
                )
            }
            for base, memory in PAIRS.items()
        }
        for study, levels in AUTHORS_LEVELS.items()
    }


def authors_table(found: AuthorsResult, doubled: AuthorsResult) -> str:
    """Leads of the memory in percentage points, means over levels and seeds, a line an optimizer.

    For each study first over the base optimizer at the same learning rate, then over the base
    optimizer at twice that rate.
    """
    lines = [" " * 9 + "".join(f"{study:>20s}" for study in found.best)]
    for base, memory in PAIRS.items():
        cells = [
            " then ".join(
                f"{100 * (best[memory] - other.best[study][base]).mean():+5.1f}"
                for other in (found, doubled)
            )
            for study, best in found.best.items()
        ]
        lines.append(f"{base:9s}" + "".join(f"{cell:>20s}" for cell in cells))
    return "\n".join(lines)


def pace_table(found: AuthorsResult) -> str:
    """With a memory, as a multiple of without: the length of a step, and the way in an epoch."""
    lines = [f"{'':9s}{'one step':>10s}{'first epoch':>14s}"]
    for base, memory in PAIRS.items():
        step, way = ((of[memory] / of[base]).mean() for of in (found.step_length, found.travel))
        lines.append(f"{base:9s}{step:10.1f}{way:14.1f}")
    return "\n".join(lines)


def fair_panels(found: FairResult) -> dict[str, dict[str, dict[str, Curve]]]:
    """Curves by study, optimizer and name, over the data sets."""
    return {
        study: {
            base: {
                name: over_data_sets(
                    levels,
                    np.stack([found.report(side, setting(study, x)) for x in levels], axis=1),
                )
                for name, side in zip(NAMES, (base, memory))
            }
            for base, memory in PAIRS.items()
        }
        for study, levels in FAIR_LEVELS.items()
    }


def rate_curves(found: FairResult) -> dict[str, dict[str, Curve]]:
    """Validation loss by learning rate, by optimizer and name, at the setting of all studies."""
    return {
        base: {
            name: over_data_sets(GRIDS[base], found.validation_loss[side][Setting()])
            for name, side in zip(NAMES, (base, memory))
        }
        for base, memory in PAIRS.items()
    }


def fair_leads(
    results: Mapping[str, FairResult], tuned_alone: bool = False
) -> dict[str, dict[str, dict[str, tuple[float, float]]]]:
    """Leads of the memory by model, optimizer and study: mean and half the interval, in points.

    Args:
        results: by model.
        tuned_alone: whether both sides take the learning rates that are best without memory.
    """
    return {
        model: {
            base: {
                study: tuple(  # type: ignore[misc]  # of two
                    100 * float(value)
                    for value in interval(found.lead(base, study, base if tuned_alone else None))
                )
                for study in FAIR_LEVELS
            }
            for base in PAIRS
        }
        for model, found in results.items()
    }


def leads_table(leads: Mapping[str, Mapping[str, Mapping[str, tuple[float, float]]]]) -> str:
    """What :func:`fair_leads` gives, a line for each model and optimizer."""
    studies = next(iter(next(iter(leads.values())).values()))
    lines = [f"{'':29s}" + "".join(f"{study:>18s}" for study in studies)]
    for model, by_optimizer in leads.items():
        for base, cells in by_optimizer.items():
            words = [f"{round(mean, 1) + 0.0:.1f} ± {half:.1f}" for mean, half in cells.values()]
            lines.append(f"{model:20s}{base:9s}" + "".join(f"{word:>18s}" for word in words))
    return "\n".join(lines)


def verdicts(results: Mapping[str, FairResult]) -> tuple[int, int, int]:
    """Of all settings, optimizers and models: how many intervals are above 0, across, below."""
    counts = [0, 0, 0]
    for found in results.values():
        for base, memory in PAIRS.items():
            for here in fair_settings():
                mean, half = interval(found.report(memory, here) - found.report(base, here))
                counts[0 if mean > half else 2 if mean < -half else 1] += 1
    return counts[0], counts[1], counts[2]
