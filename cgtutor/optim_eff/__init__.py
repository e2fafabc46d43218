"""SGD_C_eff, RMSprop_C_eff, Adam_C_eff and AdamW_C_eff: the same optimizers at the bus's speed."""

from cgtutor.optim_eff.adam import Adam_C_eff, AdamW_C_eff
from cgtutor.optim_eff.base import StackedOptimizer
from cgtutor.optim_eff.rmsprop import RMSprop_C_eff
from cgtutor.optim_eff.sgd import SGD_C_eff

__all__ = ["AdamW_C_eff", "Adam_C_eff", "RMSprop_C_eff", "SGD_C_eff", "StackedOptimizer"]
