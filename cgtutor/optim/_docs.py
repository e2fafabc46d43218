"""The parts that the optimizers' docstrings share, each written once."""

import textwrap
from typing import TypeVar

_Class = TypeVar("_Class", bound=type)

#: Parts that need the class's own name for its torch counterpart come as ``{base}``.
_PARTS = {
    "step": """
One step, for each parameter p with a gradient g (:mod:`{module}` says more)::

    m = aggregate of g and the gradients in memory      # aggr, kappa
    p = torch.optim.{base}'s update with m in place of g
    offer (priority of g, g) to the memory              # topC, synced
    multiply every priority in the memory by decay

Pass everything after ``lr`` by keyword: the order is the original package's, not torch's.
""",
    "params": """
params: parameters, named parameters, or dictionaries that define parameter groups. No
    parameter may come twice.
""",
    "lr": """
lr: learning rate, >= 0. The method's authors advise trying the one that is best for
    {base} and a tenth of it.
""",
    "adam": """
betas: decay rates of the running averages of the aggregate and of its square, in
    [0, 1).
eps: added to the denominator, >= 0.
""",
    "amsgrad": """
amsgrad: use the AMSGrad variant.
""",
    "decay": """
decay: factor for every stored priority after each step, in [0, 1]: the nearer to 1, the
    longer a gradient is kept.
""",
    "kappa": """
kappa: weight of the memory, >= 0. With 0 this is :class:`torch.optim.{base}`, bit for
    bit; the memory still fills, so that kappa may be raised later.
""",
    "topC": """
topC: number of gradients to keep for each parameter, >= 1. Each costs as much memory as
    the parameter itself.
""",
    "l2": """
weight_decay: weight decay (L2 penalty), >= 0; it does not enter the memory.
""",
    "aggr_synced": """
aggr: how current gradient and memory combine, ``"sum"``, ``"mid"`` or ``"mean"``
    (:meth:`.CriticalGradients.aggregate`).
synced: one priority for the whole group (the sum of its gradients' norms) instead of
    one for each parameter (its own norm).
""",
    "buffer_dtype": """
buffer_dtype: dtype of the kept gradients; ``None`` for that of the parameter.
    ``torch.bfloat16`` halves what they take; their sum stays in float32.
""",
    "raises": """
Raises:
    ValueError: a hyperparameter is out of range, or a parameter comes twice; nothing was built.
""",
    "source": """
Source: arXiv:2106.10708, Section 3, and the base optimizer's own paper, which
:class:`torch.optim.{base}` names.
""",
}


def documented(cls: _Class) -> _Class:
    """Put the shared parts into a class's docstring, where it has ``{their name}`` on a line.

    The torch optimizer that it names is the class's last base. With ``python -OO`` there is
    no docstring, and nothing to do.
    """
    if cls.__doc__ is not None:
        module = cls.__module__.rpartition(".")[0]
        parts = {"base": cls.__bases__[-1].__name__, "module": module}
        lines = []
        for line in cls.__doc__.split("\n"):
            name = line.strip()[1:-1]
            if line.strip() == f"{{{name}}}" and name in _PARTS:
                part = _PARTS[name].strip().format(**parts)
                lines.append(textwrap.indent(part, line[: line.index("{")]))
            else:
                lines.append(line)
        cls.__doc__ = "\n".join(lines)
    return cls
