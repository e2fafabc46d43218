"""Training."""

import pytest
import torch
from torch.optim import SGD, Adam

from cgtutor.course.shared.data import Split, network
from cgtutor.course.shared.training import (
    Curves,
    best_learning_rate,
    best_runs,
    evaluate,
    final_loss,
    mean_and_deviation,
    mean_step,
    plus_minus,
    sweep,
    table,
    train,
    train_network,
    train_on,
)


def test_train(tiny):
    model, calls = network(), []
    optimizer = Adam(model.parameters(), lr=0.01)
    before = evaluate(model, tiny.train)[0]
    state = torch.get_rng_state()
    curves = train(model, optimizer, tiny, 8, batch_size=30, after_step=lambda: calls.append(1))
    assert torch.equal(torch.get_rng_state(), state)
    assert len(calls) == 8 * 4
    assert [len(c) for c in curves[:3]] == [8, 8, 8]
    assert curves.train_loss[-1] < curves.train_loss[0] < before
    assert curves.train_loss[-1] == evaluate(model, tiny.train)[0]
    assert (curves.validation_loss[-1], curves.validation_accuracy[-1]) == evaluate(
        model, tiny.validation
    )
    assert curves.test_accuracy == evaluate(model, tiny.test)[1] > 0.5


def test_seed_is_the_order_of_mini_batches(tiny):
    runs = []
    for seed in (1, 1, 2):
        model = network()
        runs.append(train(model, Adam(model.parameters()), tiny, 2, seed=seed))
    assert runs[0] == runs[1] != runs[2]


def test_evaluate_by_hand():
    logits = torch.tensor([[0.0, 0.0], [2.0, 0.0]])
    loss, accuracy = evaluate(torch.nn.Identity(), Split(logits, torch.tensor([1, 0])))
    expected = (torch.tensor(2.0).log() + (1 + torch.tensor(-2.0).exp()).log()) / 2
    assert loss == pytest.approx(expected.item())
    assert accuracy == 0.5


def test_sweep_is_the_same_for_all(tiny):
    """Two names for one optimizer give the same numbers; a run does not depend on the others."""
    make = {name: lambda p, lr: Adam(p, lr=lr) for name in ("a", "b")}
    results = sweep(make, [0.001, 0.01], range(2), train_network, tiny, epochs=2)
    assert results["a"] == results["b"]
    assert list(results["a"]) == [0.001, 0.01]
    assert [len(runs) for runs in results["a"].values()] == [2, 2]
    model = network(seed=1)
    alone = train(model, Adam(model.parameters(), lr=0.01), tiny, 2, seed=1)
    assert results["a"][0.01][1] == alone


def test_sweep_runs_every_candidate():
    """Whatever a candidate is: each with every rate and seed, and with what else is given."""
    results = sweep(
        {"one": 1, "two": 2},
        [0.1, 0.2],
        range(2),
        lambda *given, **options: (*given, options),
        "data",
        epochs=3,
    )
    assert results == {
        name: {
            lr: [(candidate, lr, seed, "data", {"epochs": 3}) for seed in (0, 1)]
            for lr in (0.1, 0.2)
        }
        for name, candidate in (("one", 1), ("two", 2))
    }


def test_train_on_takes_each_mini_batch_once(tiny):
    batches = [
        Split(tiny.train.x[:4], tiny.train.y[:4]),
        Split(tiny.train.x[4:9], tiny.train.y[4:9]),
    ]
    model, found = network(), []

    def note():
        found.append([p.grad.clone() for p in model.parameters()])

    train_on(model, SGD(model.parameters(), lr=0.0), iter(batches), note)
    for (x, y), gradients in zip(batches, found, strict=True):
        fresh = network()
        loss = torch.nn.functional.cross_entropy(fresh(x), y)
        for one, other in zip(gradients, torch.autograd.grad(loss, list(fresh.parameters()))):
            torch.testing.assert_close(one, other)
    train_on(model, SGD(model.parameters(), lr=0.0), batches)  # without a word


def runs(*finals):
    return [Curves([], [9.0, final], [], 0.0) for final in finals]


def test_final_loss_and_best_runs():
    assert final_loss(runs(3, 1)) == 2
    results = {"one": {0.1: runs(3, 1), 0.2: runs(1, 2)}, "two": {0.1: runs(1), 0.2: runs(2)}}
    assert best_runs(results) == {"one": runs(1, 2), "two": runs(1)}


def test_best_learning_rate_by_another_loss():
    assert best_learning_rate({1.0: [3, 1, 9], 2.0: [4, 4, 4]}, loss=max) == 2.0
    assert best_learning_rate({1.0: [2], 2.0: [2]}, loss=max) == 1.0, "of equal ones the first"


def test_mean_and_deviation():
    assert mean_and_deviation([1.0, 2.0]) == (1.5, pytest.approx(0.5**0.5))
    assert plus_minus([1.0, 2.0], 3) == "1.500 ± 0.707"
    assert plus_minus([float("nan"), 2.0]) == "nan ± nan"


def test_mean_step():
    points = [torch.tensor(p) for p in ([0.0, 0.0], [3.0, 4.0], [3.0, 5.0])]
    assert mean_step(points) == 3


def test_best_learning_rate():
    assert best_learning_rate({1.0: runs(3, 1), 2.0: runs(1, 2), 3.0: runs(2, 2)}) == 2.0
    assert best_learning_rate({1.0: runs(float("nan"), 1), 2.0: runs(9, 9)}) == 2.0


def test_table():
    def runs(*pairs):
        return [Curves([], [9.0, loss], [], accuracy) for loss, accuracy in pairs]

    results = {
        "one": {0.1: runs((1, 0.5), (2, 0.7)), 0.03: runs((3, 0.1), (4, 0.1))},
        "another": {0.1: runs((2, 0.2), (2, 0.2)), 0.03: runs((1, 0.9), (1, 0.9))},
    }
    assert table(results).splitlines() == [
        "validation loss at each learning rate, and test accuracy at the best of these",
        " " * 22 + "0.1     0.03    test accuracy",
        "one                   1.50    3.50    0.600 ± 0.141",
        "another               2.00    1.00    0.900 ± 0.000",
    ]


def test_table_with_columns_of_ones_own():
    """Each at the best learning rate, as wide as it has to be."""
    results = {"one": {0.1: runs(1, 2), 0.2: runs(5, 7)}, "a": {0.1: runs(9), 0.2: runs(4)}}
    columns = {
        "test loss": lambda of: f"{len(of)} runs",
        "worst": lambda of: f"{max(run.validation_loss[-1] for run in of):.1f}",
    }
    assert table(results, columns).splitlines() == [
        "validation loss at each learning rate, and test loss at the best of these",
        " " * 22 + "0.1     0.2     test loss   worst",
        "one                   1.50    6.00    2 runs      2.0",
        "a                     9.00    4.00    1 runs      4.0",
    ]
