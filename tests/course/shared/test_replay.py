"""The gradients of a training are recorded as they were."""

import pytest
import torch
from torch.optim import SGD

from cgtutor.course.shared.data import Data, Split, network
from cgtutor.course.shared.replay import record


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
