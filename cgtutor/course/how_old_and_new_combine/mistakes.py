"""Mistakes that are often made in the exercises, and what to say of each."""

from typing import Any

from torch import Tensor
from torch.optim import Optimizer

from cgtutor import CriticalGradients

_SYNCED = "It is the sum of the norms of the gradients in the group: the same for all of them."


def wrong_aggregates(g: Tensor, M: Tensor, rule: str, kappa: float) -> dict[str, Tensor]:
    """What is often computed in place of a rule, by what to say of it."""
    n, total, mean = len(M), M.sum(0), M.mean(0)
    if rule == "mean":
        past, share = total, n + 1
        wrong = {
            "it divides by n; g counts too: divide by n + 1.": (g + kappa * total) / n,
            "it adds the mean of M; ΣM, the sum, is wanted.": (g + kappa * mean) / (n + 1),
            "the division by n + 1 is missing.": g + kappa * total,
            "it divides by the weights; n + 1 is wanted.": (g + kappa * total) / (1 + n * kappa),
        }
    else:
        past, share = mean, 1 if rule == "sum" else 2
        halved = "" if rule == "sum" else " (and halve it all)"
        instead = {
            f"this adds the sum of M. Take its mean, the sum divided by n = {n}{halved}.": total,
            "the mean of M divides by n + 1; M has n gradients, g is none of them.": total
            / (n + 1),
            "the mean ran over all numbers; it must run over the gradients: mean(0).": M.mean(),
        }
        wrong = {message: (g + kappa * other) / share for message, other in instead.items()}
    if rule == "mid":
        wrong |= {
            "only g is halved; halve it all.": g / 2 + kappa * mean,
            "only the memory's part is halved; halve it all.": g + kappa * mean / 2,
            "this is g; the memory is left out, and nothing is halved.": g,
        }
    return wrong | {
        "κ is missing: it multiplies the memory's part.": (g + past) / share,
        "κ multiplies g as well; only the memory's part is weighted.": kappa * (g + past) / share,
        "κ multiplies g; it belongs to the memory's part.": (kappa * g + past) / share,
        "the memory is left out altogether.": g / share,
        "the memory is subtracted from g; it must be added.": (g - kappa * past) / share,
    }


def critical(Base: type[Optimizer]) -> Any:
    """What the exercises ask for, so that mistakes can be made in it."""

    class Critical(Base):  # type: ignore[misc, valid-type]
        def __init__(
            self,
            params: Any,
            lr: float,
            aggr: str = "mean",
            kappa: float = 1.0,
            topC: int = 10,
            decay: float = 0.7,
            **more: Any,
        ) -> None:
            super().__init__(params, lr=lr, **more)
            self.aggr, self.kappa = aggr, kappa
            every = [p for group in self.param_groups for p in group["params"]]
            self.memories = {p: CriticalGradients(topC, decay) for p in every}

        def step(self) -> None:
            kept = []
            for group in self.param_groups:
                params = [p for p in group["params"] if p.grad is not None]
                priority = sum(p.grad.norm().item() for p in params)
                for p in params:
                    g, memory = p.grad, self.memories[p]
                    p.grad = memory.aggregate(g, self.aggr, self.kappa)
                    memory.insert(priority, g)
                    memory.fade()
                    kept.append((p, g))
            super().step()
            for p, g in kept:
                p.grad = g

    return Critical


_AGGREGATE = "p.grad = memory.aggregate(g, self.aggr, self.kappa)"
_INSERT = "memory.insert(priority, g)"
_FADE = "memory.fade()"
_PRIORITY = "sum(p.grad.norm().item() for p in params)"

#: By what to say of them, mistakes that are often made: what stands in place of which part.
MISTAKES = {
    "this is the base optimizer. The aggregate does not get into p.grad, or nothing is inserted.": {
        _AGGREGATE: ""
    },
    "g is inserted before the aggregate is made, and counts twice. Make the aggregate first.": {
        _AGGREGATE: f"{_INSERT}; {_AGGREGATE}",
        f"  {_INSERT}\n": "  pass\n",
    },
    "the priorities do not decay: memory.fade() after each insertion.": {_FADE: ""},
    f"the priority is each gradient's own norm. {_SYNCED}": {
        "insert(priority": "insert(g.norm().item()"
    },
    f"the priority is the norm of all gradients joined. {_SYNCED}": {
        _PRIORITY: "sum(p.grad.norm().item() ** 2 for p in params) ** 0.5"
    },
    f"the priority is taken over all groups. {_SYNCED}": {
        "for p in params)": "for h in self.param_groups for p in h['params'] if p.grad is not None)"
    },
    f"the norms are squared. {_SYNCED}": {"norm().item()": "norm().item() ** 2"},
    "the aggregate is inserted; the memory keeps plain gradients. Insert g.": {
        _INSERT: "memory.insert(priority, p.grad)"
    },
    "super().step() is called more than once; it belongs after the loops.": {
        "kept.append((p, g))": "kept.append((p, g))\n                super().step()",
    },
    "the rule is not taken from self.aggr.": {"self.aggr, self.kappa)": "'sum', self.kappa)"},
    "self.kappa has no part in it.": {"self.aggr, self.kappa)": "self.aggr)"},
}
