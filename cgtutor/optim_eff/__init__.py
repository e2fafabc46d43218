"""SGD_C_eff, RMSprop_C_eff, Adam_C_eff and AdamW_C_eff: the same numbers, faster.

Each is the twin of a class in :mod:`cgtutor.optim` and computes the same for the same
hyperparameters. Only the defaults differ: ``topC=20, decay=0.99, aggr="sum"``. (In the authors'
package ``cgoptimizer`` the ``_eff`` classes always add the mean, whatever ``aggr`` and ``kappa``
say; here both count.) A checkpoint of either can be loaded into the other.

What is different is where the memory lies: the kept gradients of a
parameter are the rows of one tensor, with a running sum, so that an aggregate costs the same for
any topC, and all the decisions of a group are taken at once.

On a CPU
    the work goes piece by piece through the caches, and torch's fused kernels are used unless
    ``foreach`` or ``fused`` say otherwise. (In half precision, and with ``kappa=0``, the default
    stays torch's own.)
On an accelerator
    no value is read back: a step queues up behind the backward pass, can be captured in a CUDA
    graph (``capturable=True``), and leaves every memory on its parameter's device.
Compiled
    ``step = torch.compile(optimizer.step, fullgraph=True)`` gives one graph, for all steps, if
    all parameters keep having gradients and the learning rate is a tensor or stays as it is.
    (A new value of any number is a new graph, and torch stops at eight of them.)
    (SGD_C_eff with momentum and ``dampening`` takes a second graph after its first step.)

Memory: topC rows and their sum for each parameter. ``buffer_dtype=torch.bfloat16`` halves the
rows and keeps the sum in float32; a gradient with a norm that a row could not hold is rejected.

The sum is recomputed before its rounding errors can come to a hundred-thousandth of the norms
kept. Where no value is read, one thirty-second of it is recomputed at every step instead, so the
traces of a gradient that was larger by many powers of ten are gone 32 steps after it.

Source: arXiv:2106.10708, Section 3.
"""

from cgtutor.optim_eff._base import StackedOptimizer
from cgtutor.optim_eff.adam import Adam_C_eff, AdamW_C_eff
from cgtutor.optim_eff.rmsprop import RMSprop_C_eff
from cgtutor.optim_eff.sgd import SGD_C_eff

__all__ = ["AdamW_C_eff", "Adam_C_eff", "RMSprop_C_eff", "SGD_C_eff", "StackedOptimizer"]
