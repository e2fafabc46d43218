"""Data."""

import torch

from cgtutor.course.shared.data import digits, network


def test_digits():
    data = digits()
    assert [len(split.y) for split in data] == [1000, 400, 397]
    assert data.train.x.shape == (1000, 64)
    assert data.train.x.dtype == torch.get_default_dtype()
    assert (data.train.x.min(), data.train.x.max()) == (0, 1)
    # disjoint: as many different pictures as the whole set has
    every = torch.cat([split.x for split in data])
    assert len(every.unique(dim=0)) == len(every) == 1797
    shares = [torch.bincount(split.y) / len(split.y) for split in data]
    torch.testing.assert_close(shares[0], shares[1], atol=0.005, rtol=0)
    assert torch.equal(digits().test.x, data.test.x)
    assert not torch.equal(digits(seed=1).test.x, data.test.x)


def test_network():
    torch.manual_seed(3)
    before = torch.get_rng_state()
    one, same, other = network(seed=5), network(seed=5), network(seed=6)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(one[0].weight, same[0].weight)
    assert not torch.equal(one[0].weight, other[0].weight)
    assert [type(layer).__name__ for layer in network((4, 3, 3, 2))] == [
        *("Linear", "ReLU", "Linear", "ReLU", "Linear")
    ]
