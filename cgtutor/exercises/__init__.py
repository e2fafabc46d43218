"""Automatic checks for the notebooks' exercises.

A check prints "Right!", or "Not yet:" and what to look at next. It never raises because of an
answer, so that "Run all" works on an unfinished notebook.
"""

from cgtutor.exercises.grouping import hidden_conflict, one_group_for_each_block
from cgtutor.exercises.optimizers import branch_free_insert, choosy_memory, swap_one_word
from cgtutor.exercises.own_project import save_and_resume, use_both
from cgtutor.exercises.tasks import cosine_matrix, next_target, vaccine_weight

__all__ = [
    "branch_free_insert",
    "choosy_memory",
    "cosine_matrix",
    "hidden_conflict",
    "next_target",
    "one_group_for_each_block",
    "save_and_resume",
    "swap_one_word",
    "use_both",
    "vaccine_weight",
]
