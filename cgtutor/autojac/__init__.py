"""Backward passes that keep tasks apart: Jacobians into ``.jac``, and from there into ``.grad``.

The interface is torchjd's (https://torchjd.org), version 0.18: a script that uses these three
functions of ``torchjd.autojac`` runs with these, and either side reads the other's ``.jac``.
"""

from cgtutor.autojac._backward import backward, mtl_backward
from cgtutor.autojac._jac_to_grad import jac_to_grad

__all__ = ["backward", "jac_to_grad", "mtl_backward"]
