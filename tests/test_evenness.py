"""How evenly a memory weighs its gradients."""

import math

import pytest
import torch

import cgtutor
from cgtutor import SGD_C, weight_evenness


@pytest.mark.parametrize(
    ("topC", "decay", "by_hand"),
    [
        (1, 0.5, 0.6931471805599453),  # ln 2
        (2, 0.25, 2.772588722239781),  # 2 · ln 4 = 4 · ln 2
        (10, 1 / math.e, 10.0),
        (20, 0.99, 0.20100671707002895),
        (5, 0, math.inf),
        (5, 0.0, math.inf),
    ],
)
def test_by_hand(topC, decay, by_hand):
    assert weight_evenness(topC, decay) == pytest.approx(by_hand, rel=1e-12)


def test_without_decay_it_is_zero():
    assert math.copysign(1, weight_evenness(5, 1)) == 1
    assert weight_evenness(5, 1.0) == 0


@pytest.mark.parametrize("name", ["topC", "decay"])
@pytest.mark.parametrize("value", [-1, 1.5, "0.5", math.nan, None, True])
def test_bad_input_is_named(name, value):
    with pytest.raises(ValueError, match=f"^{name} must be .*got {value!r}$"):
        weight_evenness(**({"topC": 5, "decay": 0.5} | {name: value}))


def test_a_memory_obeys_the_law():
    """What a memory holds on average, with log-norms spread evenly from 0 to 2."""
    topC, decay = 3, 0.9
    a = weight_evenness(topC, decay)
    logs = torch.linspace(0, 2, 1000, dtype=torch.float64)
    draws = torch.randint(1000, (6000,), generator=torch.Generator().manual_seed(0))
    x = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    optimizer = SGD_C([x], lr=0.0, topC=topC, decay=decay, aggr="sum")
    held = 0.0
    for i in draws:
        x.grad = logs[i].exp().reshape(1)
        optimizer.step()
        held += sum(g.item() for g in optimizer.memory(x).gradients) / topC
    low, high = torch.tensor(-5.0), torch.tensor(2.0)
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if (logs - middle).clamp(0).mean() > a else (low, middle)
    expected = (logs.exp() * (logs - low).clamp(0)).mean() / a
    assert held / len(draws) == pytest.approx(expected.item(), rel=0.05), "few slots, so not exact"
    assert abs(expected / logs.exp().mean() - 1) > 0.2, "or even weights would do as well"


def test_it_is_loaded_late_and_exported():
    assert cgtutor.weight_evenness is cgtutor.optim.weight_evenness
