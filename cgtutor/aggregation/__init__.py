"""From a Jacobian with one row for each task to one gradient.

To add another way, inherit from :class:`Aggregator`; one that weighs the rows by their Gramian is a
:class:`GramianWeighting` in a :class:`GramianWeightedAggregator`, and never sees the Jacobian.
"""

from cgtutor.aggregation._base import Aggregator, Mean, Sum
from cgtutor.aggregation._gradvac import GradVac, GramianWeightedAggregator, PCGrad
from cgtutor.aggregation._gramian import gramian
from cgtutor.aggregation._report import Report
from cgtutor.aggregation._vaccine import HIGHEST_TARGET
from cgtutor.aggregation._weighting import GradVacWeighting, GramianWeighting, PCGradWeighting

__all__ = [
    "HIGHEST_TARGET",
    "Aggregator",
    "GradVac",
    "GradVacWeighting",
    "GramianWeightedAggregator",
    "GramianWeighting",
    "Mean",
    "PCGrad",
    "PCGradWeighting",
    "Report",
    "Sum",
    "gramian",
]
