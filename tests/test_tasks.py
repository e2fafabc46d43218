"""What the notebooks on tasks are made of: data, training, figures, explorers, checks."""

import math

import matplotlib.pyplot as plt
import pytest
import torch
from torch.nn.functional import cosine_similarity

from cgtutor import exercises, plots, widgets
from cgtutor.aggregation import GradVac, Mean, PCGrad, Sum
from cgtutor.aggregation.vaccine import HIGHEST_TARGET
from cgtutor.autojac import mtl_backward
from cgtutor.grouping import all_layer
from cgtutor.multitask import (
    QUESTIONS,
    Answers,
    Run,
    SharedEncoder,
    answers,
    cosines,
    gramians,
    sweep,
    table,
    train,
)
from cgtutor.surgery import (
    Trace,
    four_ways,
    multiplications,
    numbers_moved,
    plane,
    trace,
    vaccinate_rows,
    vaccinated,
)
from cgtutor.toys import Split, digits


@pytest.fixture(autouse=True)
def _double_precision_and_no_figures_left():
    torch.set_default_dtype(torch.float64)
    torch.set_num_threads(1)  # tiny matrices: more threads only wait for each other
    yield
    plt.close("all")


@pytest.fixture
def tiny():
    return Answers(*(Split(s.x[:60], s.y[:60]) for s in answers()))


# ----------------------------------------------------------------------------- the problem


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
    run = train(model, tiny, Sum(), lr=0.02, steps=60, batch_size=30)
    assert torch.equal(torch.get_rng_state(), state)
    assert run.cosines.shape == (60, 2, 2, 2)
    torch.testing.assert_close(run.cosines[:, :, 0, 0], torch.ones(60, 2))
    assert run.losses.shape == (60, 2)
    assert run.losses[-10:].mean() < run.losses[:10].mean() / 2
    assert run.changed == [False] * 60
    losses, _ = model.losses(*tiny.validation)
    assert run.validation == pytest.approx(sum(loss.item() for loss in losses) / 2)
    hits = (model(tiny.test.x) > 0) == tiny.test.y.bool()
    assert run.accuracy.tolist() == pytest.approx(hits.double().mean(0).tolist())


def test_train_with_the_sum_is_plain_training(tiny):
    one, other = (SharedEncoder((64, 8, 3)) for _ in range(2))
    train(one, tiny, Sum(), steps=5, note_cosines=False)
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

    run = train(model, tiny, Watch(), steps=40, note_cosines=False)
    assert run.changed == seen
    assert 0 < sum(seen) < 40
    assert run.cosines.shape == (0, 2, 2, 2)


def test_an_aggregator_that_does_not_tell_its_weights_counts_as_a_change(tiny):
    run = train(SharedEncoder((64, 3)), tiny, lambda matrix: matrix.sum(0), steps=2)
    assert run.changed == [True, True]
    assert train(SharedEncoder((64, 3)), tiny, Mean(), steps=1).changed == [True]


def test_sweep_is_the_same_for_all(tiny):
    results = sweep({"a": Sum, "b": Sum}, [0.01, 0.02], range(2), tiny, widths=(64, 4))
    assert list(results["a"]) == [0.01, 0.02]
    for one, other in zip(results["a"][0.02], results["b"][0.02]):
        assert torch.equal(one.losses, other.losses)
    alone = train(SharedEncoder((64, 4), seed=1), tiny, Sum(), 0.02, seed=1, note_cosines=False)
    assert torch.equal(results["b"][0.02][1].losses, alone.losses)


def test_table():
    def run(validation, accuracy, changed):
        return Run(torch.empty(0), torch.empty(0), changed, validation, torch.tensor(accuracy))

    results = {
        "one": {
            0.1: [run(1.0, [0.4, 0.6], [True, False]), run(2.0, [0.7, 0.7], [True, True])],
            0.03: [run(3.0, [0.1, 0.1], [False] * 2)] * 2,
        }
    }
    assert table(results).splitlines() == [
        "validation loss at each learning rate, and test accuracy at the best of these",
        " " * 22 + "0.1     0.03    test accuracy   steps changed",
        "one                   1.50    3.00    0.600 ± 0.141    75%",
    ]


# ----------------------------------------------------------------------- a few gradients


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


def test_four_ways():
    rows = plane([0, 130, -90], [1, 1.2, 0.7])
    ways = four_ways(rows, 0.3)
    assert list(ways) == ["Mean", "Sum", "PCGrad", "GradVac"]
    torch.testing.assert_close(ways["Mean"].total * 3, ways["Sum"].total)
    for name in ("Sum", "PCGrad", "GradVac"):
        torch.testing.assert_close(ways[name].rows.sum(0), ways[name].total)
    assert torch.equal(ways["Sum"].rows, rows)


def test_trace_of_nothing_and_of_beta():
    assert trace([], 0.5) == Trace([], [])
    assert trace([0.5, -1.0, 1.0], 0).targets == [0, 0, 0]
    assert trace([0.5, -1.0, 1.0], 1) == Trace([0, 0.5, -1], [False, True, False])


@pytest.mark.parametrize("tasks", [2, 3, 6])
def test_vaccinate_rows_is_gradvac(tasks):
    draws, targets = torch.Generator().manual_seed(3), torch.zeros(tasks, tasks)
    vaccine, corrections = GradVac(0.3, generator=torch.Generator().manual_seed(3)), 0
    for _ in range(4):
        jacobian = torch.randn(tasks, 40) + 0.3
        total, targets, corrected = vaccinate_rows(jacobian, targets, 0.3, draws)
        torch.testing.assert_close(total, vaccine(jacobian))
        torch.testing.assert_close(targets, vaccine.targets, rtol=1e-6, atol=1e-6)
        assert corrected == vaccine.report.corrected.sum()
        corrections += corrected
    assert corrections > 0


def test_counts_by_hand():
    """Three tasks, one parameter, two of six meetings corrected."""
    assert multiplications(3, 1, 2) == {
        "on the gradients": 3 + 6 * 2 + 2,
        "by way of the Gramian": 9 + 3 + 2 * 6,
    }
    assert numbers_moved(3, 1, 2) == {
        "on the gradients": 6 + 3 + 6 * 2 + 2 * 3 + 4,
        "by way of the Gramian": 3 + 3 + 1,
    }


# ------------------------------------------------------------------------------- figures


def words(figure):
    return [text.get_text() for text in figure.legends[0].texts]


def test_layer_cosines():
    cosine = torch.linspace(-1, 1, 12)[None, :, None].repeat(3, 1, 2)
    cosine[2] += 0.3
    figure = plots.layer_cosines({"one": cosine, "another": cosine}, window=2)
    left, right = figure.axes
    assert [left.get_title(), right.get_title()] == ["one", "another"]
    assert (left.get_xlabel(), left.get_ylabel()) == ("step", "cosine of the two gradients")
    first = left.lines[1]  # after the line at zero
    assert first.get_xdata()[0] == 1
    assert first.get_ydata()[0] == pytest.approx(-1 + 1 / 11 + 0.1)
    assert words(figure) == ["layer 1", "layer 2"]
    assert figure.alt.endswith("one: 0.6 and 0.6; another: 0.6 and 0.6.")


def test_four_aggregates_tells_lengths_and_angles():
    figure = plots.four_aggregates(plane([0, 120], [1, 1]), target=0.5)
    mean, total, pcgrad, gradvac = (ax.get_xlabel().splitlines() for ax in figure.axes)
    assert mean == ["result 0.50 at 60°", "g₁ 1.00 at 0°", "g₂ 1.00 at 120°"]
    assert total[0] == "result 1.00 at 60°"
    assert pcgrad == ["result 1.50 at 60°", "g₁′ 0.87 at 30°", "g₂′ 0.87 at 90°"]
    assert gradvac == ["result 2.00 at 60°", "g₁′ 1.00 at 60°", "g₂′ 1.00 at 60°"]
    assert figure.axes[3].get_title() == "GradVac, φ̂ = 0.50"
    assert words(figure) == ["g₁", "g₂", "changed gradient", "result"]
    assert "g₁: 1.00 at 0°; g₂: 1.00 at 120°. Mean: 0.50 at 60°; Sum: 1.00 at 60°" in figure.alt
    assert figure.alt.endswith("GradVac: 2.00 at 60° (its target is 0.50).")
    # all arrows lie within the panels: two given, two changed, one result
    assert [len(ax.patches) for ax in figure.axes] == [3, 3, 5, 5]
    for ax in figure.axes:
        low, high = ax.get_xlim()
        assert low < -0.5
        assert high > 1


def test_four_aggregates_of_opposed_gradients():
    """Everything cancels: a dot in place of an arrow, and a 0 in place of a length."""
    figure = plots.four_aggregates(plane([0, 180], [1, 1]), target=-0.5)
    assert figure.axes[2].get_xlabel().splitlines() == ["result 0", "g₁′ 0", "g₂′ 0"]
    assert figure.axes[0].get_xlabel().splitlines()[0] == "result 0"
    assert figure.axes[3].get_title() == "GradVac, φ̂ = −0.50"
    assert len(figure.axes[0].patches) == 2
    assert len(figure.axes[0].lines) == 1


def test_rotation():
    pair = plane([110, 0], [1, 1.5])
    figure = plots.rotation(pair, [0, 0.9])
    said = words(figure)
    assert said[0] == "gᵢ: cosine −0.34, length 1.00"
    assert said[3] == "gᵢ′ for φ̂ = 0.90: length 2.16, weight 1.52"
    assert figure.axes[0].patches[2].get_path().get_extents().xmax == pytest.approx(0, abs=0.1)
    assert len(figure.axes) == 1
    assert f"{said[0]}; {said[1]}; {said[2]}; {said[3]}." in figure.alt
    explorable = plots.rotation(pair, [0.9], beta=0.25, curve=True)
    assert explorable.legends[0].get_title().get_text() == (
        "target after this step, with β = 0.25: 0.59"
    )
    assert "The target after this step, with β = 0.25: 0.59." in explorable.alt
    curve, dot = explorable.axes[1].lines
    assert dot.get_ydata() == pytest.approx([2.156], abs=1e-3)
    assert curve.get_ydata()[0] == pytest.approx(1)


def test_targets():
    seen = [1.0, 0.0, 0.5]
    figure = plots.targets(seen, {"β = 0.5": trace(seen, 0.5)})
    dots, line, _ = figure.axes[0].lines
    assert list(dots.get_ydata()) == seen
    assert list(line.get_ydata()) == [0, 0.5, 0.25]
    assert words(figure) == ["cosine φ seen", "β = 0.5"]
    assert figure.alt.endswith("β = 0.5: 0.25.")


def test_growth():
    figure = plots.growth({"one": ([1, 0.1, 0.01], [1, 2, 7])})
    (ax,) = figure.axes
    assert list(ax.lines[0].get_ydata()) == [1, 2, 7]
    assert ax.lines[1].get_xdata()[0] == pytest.approx(1 - HIGHEST_TARGET)
    assert ax.get_xlim()[0] > ax.get_xlim()[1], "1 is on the right"
    assert words(figure) == ["one", "the guard's highest target"]
    assert figure.alt.endswith("one: 7e+00.")


# ------------------------------------------------------------------------------ explorers


def test_aggregates_explorer():
    explorer = widgets.aggregates_explorer()
    controls = dict(
        zip(("angle2", "length2", "angle3", "length3", "phi_hat"), explorer.children[1:])
    )
    assert plots.four_aggregates(plane([0, 130], [1, 1.2]), 0.5).png() in (
        explorer.children[-1].value
    )
    controls["length3"].value = 0.8
    assert plots.four_aggregates(plane([0, 130, -100], [1, 1.2, 0.8]), 0.5).png() in (
        explorer.children[-1].value
    )
    # the goal can be reached
    controls["length3"].value, controls["angle2"].value, controls["phi_hat"].value = 0, 100, 0.85
    assert vaccinated(plane([0, 100], [1, 1.2]), 0.85)[0].norm() == pytest.approx(1.87, abs=0.01)


def test_vaccine_explorer():
    explorer = widgets.vaccine_explorer()
    phi, phi_hat, length, beta = explorer.children[1:-1]
    phi.value, phi_hat.value, length.value, beta.value = 0, 0.71, 1, 0.2
    expected = plots.rotation(plane([90, 0], [1, 1]), [0.71], beta=0.2, curve=True)
    assert words(expected)[2].endswith("weight 1.01")
    assert expected.png() in explorer.children[-1].value


# ------------------------------------------------------------------------------ exercises


def lengths(jacobian):
    return jacobian.norm(dim=1, keepdim=True)


def right_cosines(jacobian):
    directions = (jacobian / lengths(jacobian)).nan_to_num(0.0)
    return directions @ directions.T


def in_place(jacobian):
    jacobian /= lengths(jacobian).clamp(min=1e-30)
    return jacobian @ jacobian.T


def diagonal(jacobian, value):
    result = right_cosines(jacobian)
    return result.fill_diagonal_(value)


WRONG_COSINES = {
    "these are dot products": lambda j: j @ j.T,
    "gives back None": lambda j: None,
    "this is a list": lambda j: (j @ j.T).tolist(),
    "this compares columns": lambda j: j.T @ j,
    "came back the shape (3,)": lambda j: right_cosines(j).diag(),
    "each column was divided": lambda j: (j / j.norm(dim=0)) @ (j / j.norm(dim=0)).T,
    "the whole matrix": lambda j: (j / j.norm()) @ (j / j.norm()).T,
    "length of one gradient only": lambda j: (j @ j.T) / lengths(j),
    "one gradient only, not of both": lambda j: (j @ j.T) / lengths(j).T,
    "squared lengths": lambda j: (j @ j.T) / (lengths(j) * lengths(j).T) ** 2,
    "but the diagonal": lambda j: diagonal(j, 0),
    "signs got lost": lambda j: right_cosines(j).abs(),
    "1 − cosine": lambda j: 1 - right_cosines(j),
    "these are angles": lambda j: right_cosines(j).clamp(-1, 1).acos(),
    "the cosines are [[1.0, 0.0, 0.8]": lambda j: right_cosines(j) + 0.1,
    "there is a NaN": lambda j: (j / lengths(j)) @ (j / lengths(j)).T,
    "on the diagonal too": lambda j: diagonal(j, 1),
    "a fixed number added": lambda j: (j @ j.T) / (lengths(j) * lengths(j).T + 1e-8),
    "the Jacobian itself was changed": in_place,
    "stopped with RuntimeError": lambda j: j @ j,
}


@pytest.mark.parametrize("why", WRONG_COSINES)
def test_cosine_matrix_rejects(why, capsys):
    torch.set_default_dtype(torch.float32)
    exercises.cosine_matrix(WRONG_COSINES[why])
    said = capsys.readouterr().out
    assert said.startswith("Not yet: ")
    assert why in said


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    "answer",
    [
        right_cosines,
        lambda j: cosines(j @ j.T),
        lambda j: cosine_similarity(j[:, None], j[None], dim=2),
    ],
)
def test_cosine_matrix_accepts(answer, dtype, capsys):
    torch.set_default_dtype(dtype)
    exercises.cosine_matrix(answer)
    assert capsys.readouterr().out.startswith("Right! ")


def sine(x):
    return math.sqrt(1 - x * x)


def right_weight(a, b, p, q):
    if p >= q:
        return 0.0
    q = min(q, math.sqrt(1 - 1e-6))
    return a * (q * sine(p) - p * sine(q)) / (b * sine(q))


def always(a, b, p, q):
    q = min(q, HIGHEST_TARGET)
    return a * (q * sine(p) - p * sine(q)) / (b * sine(q))


def no_limit(a, b, p, q):
    return a * (q * sine(p) - p * sine(q)) / (b * sine(q)) if p < q else 0.0


WRONG_WEIGHTS = {
    "gives back None": lambda a, b, p, q: None,
    "the sign is turned around": lambda a, b, p, q: -right_weight(a, b, p, q),
    "stands a minus": lambda a, b, p, q: a * (q * sine(p) + p * sine(q)) / (b * sine(q)),
    "the lengths are missing": lambda a, b, p, q: right_weight(1, 1, p, q),
    "the wrong way up": lambda a, b, p, q: right_weight(b, a, p, q),
    "‖g_i‖ is missing": lambda a, b, p, q: right_weight(1, b, p, q),
    "‖g_j‖ is missing": lambda a, b, p, q: right_weight(a, 1, p, q),
    "missing in the denominator": lambda a, b, p, q: right_weight(a, b, p, q) * sine(q),
    "and yours is of φ": lambda a, b, p, q: right_weight(a, b, p, q) * sine(q) / sine(p),
    "need square roots": lambda a, b, p, q: (
        a * (q * sine(p) ** 2 - p * sine(q) ** 2) / (b * sine(q) ** 2)
    ),
    "the roots are swapped": lambda a, b, p, q: a * (q * sine(q) - p * sine(p)) / (b * sine(q)),
    "in proportion": lambda a, b, p, q: a * (q - p) / b,
    "this is PCGrad": lambda a, b, p, q: -a * p / b,
    "it makes the cosine 0.30": lambda a, b, p, q: 0.7 * right_weight(a, b, p, q),
    "never turns away": always,
    "With φ̂ = 1 the weight is inf": no_limit,
    "With φ̂ = 1 the weight is 1.91e+08": lambda a, b, p, q: (
        a * (q * sine(p) - p * sine(q)) / (b * sine(q) + 1e-8) if p < q else 0.0
    ),
    "With φ̂ = 0.999999999 the weight is": lambda a, b, p, q: (
        right_weight(a, b, p, q) if q == 1 else no_limit(a, b, p, q)
    ),
    "With φ̂ = 1 the weight is 25.6 and should be 3815": lambda a, b, p, q: right_weight(
        a, b, p, min(q, 0.99)
    ),
    "With φ̂ = 1 the weight is 0 and should": lambda a, b, p, q: (
        right_weight(a, b, p, q) if q < 1 else 0
    ),
    "Is a `return` missing in some case?": lambda a, b, p, q: (
        right_weight(a, b, p, q) if p < q else None
    ),
    "stopped with TypeError": lambda a, b, p: 0.0,
}


@pytest.mark.parametrize("why", WRONG_WEIGHTS)
def test_vaccine_weight_rejects(why, capsys):
    exercises.vaccine_weight(WRONG_WEIGHTS[why])
    said = capsys.readouterr().out
    assert said.startswith("Not yet: "), said
    assert why in said


@pytest.mark.parametrize(
    "answer",
    [
        right_weight,
        lambda *case: torch.tensor(right_weight(*case)),
        lambda a, b, p, q: a / b * right_weight(1, 1, p, q),
    ],
)
def test_vaccine_weight_accepts(answer, capsys):
    exercises.vaccine_weight(answer)
    assert capsys.readouterr().out.startswith("Right! ")


WRONG_TARGETS = {
    "gives back None": lambda old, phi, beta: None,
    "yours are swapped": lambda old, phi, beta: beta * old + (1 - beta) * phi,
    "forgets the old target": lambda old, phi, beta: phi,
    "never moves": lambda old, phi, beta: old,
    "multiplied by 1 − β": lambda old, phi, beta: old + beta * phi,
    "has to be multiplied by β": lambda old, phi, beta: (1 - beta) * old + phi,
    "down as well as up": lambda old, phi, beta: max(old, (1 - beta) * old + beta * phi),
    "should move in every step": lambda old, phi, beta: (
        (1 - beta) * old + beta * phi if phi < old else old
    ),
    "with β = 0.3, φ̂ = 0 and φ = 0.8 the next target is 0.24, and yours 0.34": (
        lambda old, phi, beta: (1 - beta) * old + beta * phi + 0.1
    ),
    "stopped with ZeroDivisionError": lambda old, phi, beta: 1 / 0,
}


@pytest.mark.parametrize("why", WRONG_TARGETS)
def test_next_target_rejects(why, capsys):
    exercises.next_target(WRONG_TARGETS[why])
    said = capsys.readouterr().out
    assert said.startswith("Not yet: "), said
    assert why in said


@pytest.mark.parametrize(
    "answer",
    [lambda old, phi, beta: (1 - beta) * old + beta * phi, lambda o, p, b: o + b * (p - o)],
)
def test_next_target_accepts(answer, capsys):
    exercises.next_target(answer)
    assert capsys.readouterr().out.startswith("Right! ")
