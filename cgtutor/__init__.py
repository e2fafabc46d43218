"""Critical-gradient optimizers, and Gradient Vaccine for the gradients of several tasks."""

from cgtutor.aggregation import GradVac
from cgtutor.memory import CriticalGradients
from cgtutor.optim import SGD_C, Adam_C, AdamW_C, RMSprop_C

__all__ = ["SGD_C", "AdamW_C", "Adam_C", "CriticalGradients", "GradVac", "RMSprop_C"]
__version__ = "0.1.0"
