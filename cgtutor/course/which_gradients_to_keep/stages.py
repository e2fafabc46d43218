"""The memory of the notebook *which gradients to keep*, as it grows: right answers.

They stand in where an exercise is open.
"""

import math
from typing import Any

from torch import Tensor


def keep_largest(memory: list[Any], norm: float, gradient: Tensor, topC: int) -> list[Any]:
    """The first form: a larger gradient takes the place of the smallest."""
    memory = list(memory)
    if len(memory) < topC:
        memory.append((norm, gradient))
    else:
        place = min(range(topC), key=lambda i: memory[i][0])
        if norm > memory[place][0]:
            memory[place] = (norm, gradient)
    return memory


def decayed(memory: list[Any], decay: float) -> list[Any]:
    """The second step: priorities decay, gradients do not."""
    return [(priority * decay, gradient) for priority, gradient in memory]


def insert(memory: list[Any], norm: float, gradient: Tensor, topC: int) -> list[Any]:
    """The third: the pairs stay in the order in which they came, so ties go to the oldest."""
    memory = list(memory)
    if len(memory) < topC:
        memory.append((norm, gradient))
    else:
        place = min(range(topC), key=lambda i: memory[i][0])
        if norm > memory[place][0]:
            del memory[place]
            memory.append((norm, gradient))  # at the end
    return memory


def remember(
    memory: list[Any], norm: float, gradient: Tensor, topC: int, decay: float
) -> list[Any]:
    """The whole: what must not enter does not, and a kept gradient is a copy."""
    if 0 < norm < math.inf:
        memory = insert(memory, norm, gradient.clone(), topC)
    return decayed(memory, decay)


def extra_steps(height: float, decay: float) -> float:
    """How many more steps a gradient stays with its norm multiplied by ``height``."""
    return math.log(height) / math.log(1 / decay)
