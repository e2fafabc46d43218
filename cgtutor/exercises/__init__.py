"""Automatic checks for the notebooks' exercises.

A check prints "Right!", or "Not yet:" and what to look at next. It never raises because of an
answer, so that "Run all" works on an unfinished notebook, and it leaves the random generators, the
default dtype, warnings and figures as they were (``guard.py``).
"""

from cgtutor.exercises.choosing import best_within, spike_survival
from cgtutor.exercises.classification import fair_comparison
from cgtutor.exercises.grouping import hidden_conflict, one_group_for_each_block
from cgtutor.exercises.keeping import remember
from cgtutor.exercises.machine import environment
from cgtutor.exercises.optimizers import branch_free_insert, choosy_memory, swap_one_word
from cgtutor.exercises.own_project import save_and_resume, use_both
from cgtutor.exercises.remembering import momentum_step
from cgtutor.exercises.rules import adamw_with_memory, aggregate_by_rule
from cgtutor.exercises.tasks import cosine_matrix, next_target, vaccine_weight

__all__ = [
    "adamw_with_memory",
    "aggregate_by_rule",
    "best_within",
    "branch_free_insert",
    "choosy_memory",
    "cosine_matrix",
    "environment",
    "fair_comparison",
    "hidden_conflict",
    "momentum_step",
    "next_target",
    "one_group_for_each_block",
    "remember",
    "save_and_resume",
    "spike_survival",
    "swap_one_word",
    "use_both",
    "vaccine_weight",
]
