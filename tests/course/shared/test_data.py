"""Data."""

import torch

from cgtutor.course.shared.data import Split, digits, drawn, mini_batches, network


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


def test_mini_batches_are_a_pass_over_all():
    split = Split(torch.arange(7.0)[:, None], torch.arange(7))
    parts = list(mini_batches(split, 3, torch.Generator().manual_seed(1)))
    assert [len(part.y) for part in parts] == [3, 3, 1]
    order = torch.cat([part.y for part in parts])
    assert torch.equal(order, torch.randperm(7, generator=torch.Generator().manual_seed(1)))
    assert torch.equal(torch.cat([part.x for part in parts])[:, 0], order.float())
    order = torch.Generator().manual_seed(1)
    first, second = (torch.cat([part.y for part in mini_batches(split, 3, order)]) for _ in "ab")
    assert not torch.equal(first, second), "each pass in an order of its own"


def test_drawn_with_replacement():
    split = Split(torch.arange(5.0)[:, None], torch.arange(5))
    batch = drawn(split, 20, torch.Generator().manual_seed(1))
    rows = torch.randint(5, (20,), generator=torch.Generator().manual_seed(1))
    assert torch.equal(batch.y, rows)
    assert torch.equal(batch.x[:, 0], rows.float())
