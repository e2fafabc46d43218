"""Replay."""

import math

import pytest
import torch
from torch.optim import SGD

from cgtutor import Adam_C
from cgtutor.course.shared.data import Data, Split, network
from cgtutor.course.shared.replay import kept, record, replay
from cgtutor.course.shared.training import train


def test_replay_worked_trace():
    """Norms 4, 1, 3, 0.2: the 1 goes when the 3 comes, the 0.2 never gets in."""
    lives = replay([4.0, 1.0, 3.0, 0.2], topC=2, decay=0.5)
    assert lives.until == [3, 1, 3, None]
    assert lives.oldest == [0, 1, 2, 3]
    assert lives.memory.priorities == [0.75, 0.25]
    assert replay([float("nan"), 1.0]).until == [None, 1]


def test_replay_is_what_the_optimizer_does(tiny):
    torch.set_default_dtype(torch.float64)
    data = Data(*(Split(s.x.double(), s.y) for s in tiny))
    model, norms = network(), []
    optimizer = Adam_C(model.parameters(), topC=3, decay=0.95)

    def note():
        norms.append(sum(p.grad.norm() for p in model.parameters()).item())

    train(model, optimizer, data, 5, after_step=note)
    memory, again = optimizer.memory(model[0].weight), replay(norms, 3, 0.95).memory
    assert again.priorities == pytest.approx(memory.priorities)
    assert again.ages == memory.ages


#: The trace of the docs: the 1 goes when the 3 comes, the 0.2 never gets in.
TRACE = [4.0, 1.0, 3.0, 0.2]


def traced():
    return replay(TRACE, topC=2, decay=0.5)


def test_kept_before_each_step():
    assert kept(traced()) == [[], [0], [0, 1], [0, 2]]
    assert kept(replay([math.nan, 1.0, 2.0])) == [[], [], [1]]


def test_record(tiny):
    torch.set_default_dtype(torch.float64)
    data = Data(*(Split(s.x.double(), s.y) for s in tiny))
    model, lr = network(), 0.1
    start = torch.cat([p.detach().flatten() for p in model.parameters()])
    run = record(model, SGD(model.parameters(), lr=lr), data, epochs=2, batch_size=30, whole=True)
    assert run.gradients.shape == run.whole.shape == (8, len(start))
    end = torch.cat([p.detach().flatten() for p in model.parameters()])
    torch.testing.assert_close(end, start - lr * run.gradients.sum(dim=0))
    sizes = [p.numel() for p in model.parameters()]
    by_tensor = [part.norm().item() for part in run.gradients[3].split(sizes)]
    assert run.norms[3] == pytest.approx(sum(by_tensor))
    # with all the data in each mini-batch, the two are the same, at every step
    model = network()
    same = record(model, SGD(model.parameters(), lr=lr), data, 3, batch_size=100, whole=True)
    torch.testing.assert_close(same.gradients, same.whole)
    without = record(network(), SGD(model.parameters(), lr=lr), data, 1, batch_size=100)
    assert without.whole.numel() == 0


def test_record_skips_what_has_no_gradient(tiny):
    model = torch.nn.Sequential(torch.nn.Linear(64, 10))
    model.bias_of_nothing = torch.nn.Parameter(torch.zeros(3))
    run = record(model, SGD(model.parameters(), lr=0.1), tiny, epochs=1)
    assert run.gradients.shape == (2, 650)
