"""Critical-gradient optimizers, and Gradient Vaccine for the gradients of several tasks."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cgtutor import aggregation as aggregation
    from cgtutor import autojac as autojac
    from cgtutor import grouping as grouping
    from cgtutor import memory as memory
    from cgtutor import optim as optim
    from cgtutor import optim_eff as optim_eff
    from cgtutor import streaming as streaming
    from cgtutor.aggregation import GradVac
    from cgtutor.memory import CriticalGradients
    from cgtutor.optim import SGD_C, Adam_C, AdamW_C, RMSprop_C, weight_evenness

__all__ = [
    "SGD_C",
    "AdamW_C",
    "Adam_C",
    "CriticalGradients",
    "GradVac",
    "RMSprop_C",
    "weight_evenness",
]
__version__ = "0.1.0"

_MODULES = ("aggregation", "autojac", "grouping", "memory", "optim", "optim_eff", "streaming")

#: Where each name comes from. Nothing is imported before it is used.
_HOME = {
    "GradVac": "cgtutor.aggregation",
    "CriticalGradients": "cgtutor.memory",
    **dict.fromkeys(
        ("SGD_C", "Adam_C", "AdamW_C", "RMSprop_C", "weight_evenness"), "cgtutor.optim"
    ),
}


def __getattr__(name: str) -> Any:
    if name in _HOME:
        value = getattr(importlib.import_module(_HOME[name]), name)
    elif name in _MODULES:
        value = importlib.import_module(f"{__name__}.{name}")
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_MODULES})
