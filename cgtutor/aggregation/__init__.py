"""From a Jacobian with one row for each task to one gradient."""

from cgtutor.aggregation.base import Aggregator, Mean, Sum
from cgtutor.aggregation.gradvac import GradVac, PCGrad
from cgtutor.aggregation.weighting import GradVacWeighting, PCGradWeighting, Report

__all__ = [
    "Aggregator",
    "GradVac",
    "GradVacWeighting",
    "Mean",
    "PCGrad",
    "PCGradWeighting",
    "Report",
    "Sum",
]
