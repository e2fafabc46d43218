"""SGD_C, RMSprop_C, Adam_C and AdamW_C: torch's optimizers on critical gradients.

A critical-gradient optimizer is an ordinary ``torch.optim`` optimizer that gets another
gradient: instead of g it sees an aggregate of g and of a few past gradients, the largest, which
:mod:`cgtutor.memory` keeps. The update itself is torch's own code, so everything
torch knows (weight decay, momentum, foreach and fused kernels) works as there, and with
``kappa=0`` every class here *is* its torch counterpart, bit for bit.

What ``step()`` does, for each parameter group and each parameter p in it that has a gradient::

    priority  = ||p.grad||, or with synced=True the sum of these norms over the group
    aggregate = p.grad and the gradients in p's memory, combined as aggr says
    update p with torch.optim's rule, aggregate in place of p.grad
    offer (priority, p.grad) to p's memory
    multiply every priority in p's memory by decay

A gradient whose priority is zero or not finite is rejected: it is seen, and never inserted. (With
``synced=True`` the priority that counts is the group's, so a zero gradient among others that are
not zero is inserted as they are.)

Pass everything after ``lr`` by keyword: the order of the arguments is the original package's, not
torch's, so ``SGD_C(params, 0.1, 0.9)`` sets ``kappa``.

Source: McRae, Parthasarathi, Assran and Chandar, *Memory Augmented Optimizers for Deep
Learning*, ICLR 2022, arXiv:2106.10708, Section 3. Where these classes differ from the authors'
package ``cgoptimizer``: ``kappa`` counts in all of them, and ``kappa=0`` is the base optimizer
with its momentum; a full memory does not crash, and what leaves it is always the smallest
priority, of equals the oldest; the memory holds gradients without weight decay, goes with
``state_dict``, and never holds a NaN or an Inf; hyperparameters are checked, ``decay`` above
1 among them.
"""

from cgtutor.optim._base import CriticalGradientOptimizer
from cgtutor.optim.adam import Adam_C, AdamW_C
from cgtutor.optim.evenness import weight_evenness
from cgtutor.optim.rmsprop import RMSprop_C
from cgtutor.optim.sgd import SGD_C

__all__ = [
    "SGD_C",
    "AdamW_C",
    "Adam_C",
    "CriticalGradientOptimizer",
    "RMSprop_C",
    "weight_evenness",
]
