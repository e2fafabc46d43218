"""Automatic checks for the notebooks' exercises.

A check prints "Right!", or "Not yet:" and what to look at next. It never raises because of an
answer, so that "Run all" works on an unfinished notebook.
"""

from cgtutor.exercises.classification import fair_comparison
from cgtutor.exercises.grouping import hidden_conflict, one_group_for_each_block
from cgtutor.exercises.optimizers import branch_free_insert, choosy_memory, swap_one_word
from cgtutor.exercises.tasks import cosine_matrix, next_target, vaccine_weight

__all__ = [
    "branch_free_insert",
    "choosy_memory",
    "cosine_matrix",
    "fair_comparison",
    "hidden_conflict",
    "next_target",
    "one_group_for_each_block",
    "swap_one_word",
    "vaccine_weight",
]
