"""Tasks."""

import math

import pytest
import torch
from torch.nn.functional import cosine_similarity

from cgtutor.aggregation import GradVac, Mean, PCGrad, Sum
from cgtutor.autojac import mtl_backward
from cgtutor.course.shared.data import Data, Split, digits
from cgtutor.course.shared.tasks import (
    QUESTIONS,
    SharedEncoder,
    answers,
    cosines,
    evaluate_tasks,
    gramians,
    multi_task_step,
    plane,
    train_tasks,
    vaccinated,
)
from cgtutor.grouping import all_layer

pytestmark = pytest.mark.usefixtures("double_precision", "one_thread")


@pytest.fixture
def tiny():
    return Data(*(Split(s.x[:60], s.y[:60]) for s in answers()))


def test_answers_are_those_of_the_digits():
    data, original = answers(), digits()
    for split, plain in zip(data, original):
        assert torch.equal(split.x, plain.x)
        assert split.y.dtype == torch.get_default_dtype()
        for task, those in enumerate(QUESTIONS.values()):
            assert split.y[:, task].tolist() == [float(y in those) for y in plain.y.tolist()]
    assert answers({"is it one?": (1,)}).test.y.shape == (397, 1)


def test_shared_encoder():
    before = torch.get_rng_state()
    one, same, other = (SharedEncoder((4, 3, 2), tasks=3, seed=s) for s in (5, 5, 6))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(one.heads[2].weight, same.heads[2].weight)
    assert not torch.equal(one.heads[2].weight, other.heads[2].weight)
    assert [type(layer).__name__ for layer in one.encoder] == ["Linear", "Tanh"] * 2
    x, y = torch.rand(5, 4), torch.randint(2, (5, 3)).double()
    losses, features = one.losses(x, y)
    assert features.shape == (5, 2)
    chances = one(x).sigmoid()
    expected = -(y * chances.log() + (1 - y) * (1 - chances).log()).mean(0)
    torch.testing.assert_close(torch.stack(losses), expected)


def test_cosines_against_torch():
    rows = torch.randn(4, 3, 7)
    expected = cosine_similarity(rows[:, :, None], rows[:, None], dim=-1)
    torch.testing.assert_close(cosines(rows @ rows.mT), expected)


def test_gramians_of_layers(tiny):
    model = SharedEncoder((64, 5, 2))
    losses, features = model.losses(*tiny.train)
    mtl_backward(losses, features=features)
    found = gramians(all_layer(model.encoder))
    layer = model.encoder[2]
    rows = torch.cat([layer.weight.jac.flatten(1), layer.bias.jac], 1)
    torch.testing.assert_close(found[1], rows @ rows.T)
    assert found.shape == (2, 2, 2)


def test_train(tiny):
    model, state = SharedEncoder((64, 8, 3)), torch.get_rng_state()
    run = train_tasks(model, tiny, Sum(), lr=0.02, steps=60, batch_size=30)
    assert torch.equal(torch.get_rng_state(), state)
    assert run.cosines.shape == (60, 2, 2, 2)
    torch.testing.assert_close(run.cosines[:, :, 0, 0], torch.ones(60, 2))
    assert run.losses.shape == (60, 2)
    assert run.losses[-10:].mean() < run.losses[:10].mean() / 2
    assert run.changed == [False] * 60
    losses, _ = model.losses(*tiny.validation)
    assert run.validation_loss == [pytest.approx(sum(loss.item() for loss in losses) / 2)]
    hits = (model(tiny.test.x) > 0) == tiny.test.y.bool()
    assert run.accuracy.tolist() == pytest.approx(hits.double().mean(0).tolist())


def test_train_with_the_sum_is_plain_training(tiny):
    one, other = (SharedEncoder((64, 8, 3)) for _ in range(2))
    train_tasks(one, tiny, Sum(), steps=5, note_cosines=False)
    optimizer = torch.optim.Adam(other.parameters(), lr=0.01)
    draws = torch.Generator().manual_seed(0)
    for _ in range(5):
        batch = torch.randint(60, (200,), generator=draws)
        optimizer.zero_grad()
        sum(other.losses(tiny.train.x[batch], tiny.train.y[batch])[0]).backward()
        optimizer.step()
    for p, q in zip(one.parameters(), other.parameters()):
        torch.testing.assert_close(p, q)


def test_changed_are_the_steps_in_conflict(tiny):
    """With two tasks PCGrad is the sum unless the whole encoder's cosine is negative."""
    model, seen = SharedEncoder((64, 8, 2), seed=1), []

    class Watch(PCGrad):
        def weigh_and_combine(self, jacobians):
            rows = torch.cat([j.flatten(1) for j in jacobians], 1)
            seen.append(bool(rows[0] @ rows[1] < 0))
            return super().weigh_and_combine(jacobians)

    run = train_tasks(model, tiny, Watch(), steps=40, note_cosines=False)
    assert run.changed == seen
    assert 0 < sum(seen) < 40
    assert run.cosines.shape == (0, 2, 2, 2)


def test_an_aggregator_that_does_not_tell_its_weights_counts_as_a_change(tiny):
    run = train_tasks(SharedEncoder((64, 3)), tiny, lambda matrix: matrix.sum(0), steps=2)
    assert run.changed == [True, True]
    assert train_tasks(SharedEncoder((64, 3)), tiny, Mean(), steps=1).changed == [True]


def test_vaccinated_reaches_the_target():
    for target in (-0.2, 0.0, 0.5, 0.99):
        for angles in ([110, 0], [0, 175], [20, -100]):
            rows = plane(angles, [1, 2.5])
            new = vaccinated(rows, target)
            for i in (0, 1):
                assert cosine_similarity(new[i], rows[1 - i], dim=0) == pytest.approx(
                    target, abs=1e-6
                )
            sines = math.sin(math.radians(angles[0] - angles[1])) / math.sin(math.acos(target))
            assert new.norm(dim=1).tolist() == pytest.approx(
                (rows.norm(dim=1) * abs(sines)).tolist()
            )


def test_multi_task_step():
    """Along the sum of the losses, or along what an aggregate leaves in .grad."""
    model = SharedEncoder((4, 3, 2))
    twin = SharedEncoder((4, 3, 2))
    x, y = torch.rand(5, 4), torch.randint(2, (5, 2)).double()
    seen = []

    def first_task_alone():
        for p in twin.encoder.parameters():
            seen.append(p.jac.shape[0])
            p.grad = p.jac[0]

    for net, aggregate in ((model, None), (twin, first_task_alone)):
        before = [p.detach().clone() for p in net.parameters()]
        losses, _ = net.losses(x, y)
        wanted = sum(losses) if aggregate is None else losses[0]
        gradients = torch.autograd.grad(wanted, list(net.encoder.parameters()))
        optimizer = torch.optim.SGD(net.parameters(), lr=0.5)
        for p in net.parameters():
            p.grad = torch.ones_like(p)  # of an earlier step
        multi_task_step(optimizer, *net.losses(x, y), aggregate)
        for p, old, gradient in zip(net.encoder.parameters(), before, gradients):
            torch.testing.assert_close(p.detach(), old - 0.5 * gradient)
    assert seen == [2] * 4


def test_evaluate_tasks_by_hand():
    class Constant(SharedEncoder):
        def losses(self, x, y):
            return [torch.tensor(1.0), torch.tensor(2.0)], x

        def forward(self, x):
            return torch.tensor([[1.0, -1.0], [1.0, 1.0]])

    loss, hits = evaluate_tasks(
        Constant(), Split(torch.zeros(2, 64), torch.tensor([[1.0, 1.0], [0.0, 1.0]]))
    )
    assert loss == 1.5
    assert hits.tolist() == [[1, 0], [0, 1]]


def test_vaccinated_takes_the_others_in_their_order():
    """What three orders of GradVac come to: seed 9 draws for every task the order of the rows."""
    rows = plane([0, 130, -110], [1, 1.2, 0.8])
    orders = torch.Generator().manual_seed(9)
    assert [torch.randperm(2, generator=orders).tolist() for _ in range(3)] == [[0, 1]] * 3
    orders.manual_seed(9)
    vaccine = GradVac(generator=orders)
    vaccine.load_state_dict({"gramian_weighting.targets": torch.full((3, 3), 0.2)})
    vaccine(rows)
    torch.testing.assert_close(vaccinated(rows, 0.2), vaccine.report.coefficients @ rows)
    state = torch.get_rng_state()
    vaccinated(rows, 0.2)
    assert torch.equal(torch.get_rng_state(), state)


def test_vaccinated_leaves_what_agrees():
    rows = plane([0, 30], [1, 2])
    assert torch.equal(vaccinated(rows, 0.8), rows)


def test_vaccinated_is_what_the_aggregators_do():
    rows = plane([0, 130], [1, 1.2])
    torch.testing.assert_close(vaccinated(rows, 0).sum(0), PCGrad()(rows))
    vaccine = GradVac()
    vaccine.load_state_dict({"gramian_weighting.targets": torch.full((2, 2), 0.4)})
    torch.testing.assert_close(vaccinated(rows, 0.4).sum(0), vaccine(rows))
    narrow = rows.float()
    assert vaccinated(narrow, 0.4, guard=False).dtype == torch.float32
    torch.testing.assert_close(vaccinated(narrow, 0.4, guard=False), vaccinated(narrow, 0.4))
    assert vaccinated(plane([90, 0], [1, 1]), 1.0).norm() < 1500
    assert vaccinated(plane([90, 0], [1, 1]), 1.0, guard=False).norm() > 1e7
    assert vaccinated(1e-5 * rows, 0.4, eps=0.0)[0] @ rows[1] / 1.2e-5 > 0
