"""When tasks disagree."""

import pytest
import torch
from checking import accepts, rejects
from looking import shows
from torch.nn.functional import cosine_similarity

from cgtutor.aggregation import Sum
from cgtutor.course.shared.data import Data, Split
from cgtutor.course.shared.tasks import (
    SharedEncoder,
    TaskRun,
    answers,
    cosines,
    plane,
    train_tasks,
    vaccinated,
)
from cgtutor.course.shared.training import sweep, table
from cgtutor.course.when_tasks_disagree import checks, figures
from cgtutor.course.when_tasks_disagree.explorer import aggregates_explorer
from cgtutor.course.when_tasks_disagree.study import COLUMNS, four_ways, train_with

pytestmark = pytest.mark.usefixtures("double_precision", "one_thread")


@pytest.fixture
def tiny():
    return Data(*(Split(s.x[:60], s.y[:60]) for s in answers()))


def test_sweep_is_the_same_for_all(tiny):
    results = sweep({"a": Sum, "b": Sum}, [0.01, 0.02], range(2), train_with, tiny, widths=(64, 4))
    assert list(results["a"]) == [0.01, 0.02]
    for one, other in zip(results["a"][0.02], results["b"][0.02]):
        assert torch.equal(one.losses, other.losses)
    alone = train_tasks(
        SharedEncoder((64, 4), seed=1), tiny, Sum(), 0.02, seed=1, note_cosines=False
    )
    assert torch.equal(results["b"][0.02][1].losses, alone.losses)


def test_table():
    def run(validation, accuracy, changed):
        return TaskRun(
            torch.empty(0), torch.empty(0), changed, [validation], torch.tensor(accuracy)
        )

    results = {
        "one": {
            0.1: [run(1.0, [0.4, 0.6], [True, False]), run(2.0, [0.7, 0.7], [True, True])],
            0.03: [run(3.0, [0.1, 0.1], [False] * 2)] * 2,
        }
    }
    assert table(results, COLUMNS).splitlines() == [
        "validation loss at each learning rate, and test accuracy at the best of these",
        " " * 22 + "0.1     0.03    test accuracy   steps changed",
        "one                   1.50    3.00    0.600 ± 0.141    75%",
    ]


def test_four_ways():
    rows = plane([0, 130, -90], [1, 1.2, 0.7])
    ways = four_ways(rows, 0.3)
    assert list(ways) == ["Mean", "Sum", "PCGrad", "GradVac"]
    torch.testing.assert_close(ways["Mean"].total * 3, ways["Sum"].total)
    for name in ("Sum", "PCGrad", "GradVac"):
        torch.testing.assert_close(ways[name].rows.sum(0), ways[name].total)
    assert torch.equal(ways["Sum"].rows, rows)


def words(figure):
    return [text.get_text() for text in figure.legends[0].texts]


def test_layer_cosines():
    cosine = torch.linspace(-1, 1, 12)[None, :, None].repeat(3, 1, 2)
    cosine[2] += 0.3
    figure = figures.layer_cosines({"one": cosine, "another": cosine}, window=2)
    left, right = figure.axes
    assert [left.get_title(), right.get_title()] == ["one", "another"]
    assert (left.get_xlabel(), left.get_ylabel()) == ("step", "cosine of the two gradients")
    first = left.lines[1]  # after the line at zero
    assert first.get_xdata()[0] == 1
    assert first.get_ydata()[0] == pytest.approx(-1 + 1 / 11 + 0.1)
    assert words(figure) == ["layer 1", "layer 2"]
    assert figure.alt.endswith("one: 0.6 and 0.6; another: 0.6 and 0.6.")


def test_four_aggregates_tells_lengths_and_angles():
    figure = figures.four_aggregates(plane([0, 120], [1, 1]), target=0.5)
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
    figure = figures.four_aggregates(plane([0, 180], [1, 1]), target=-0.5)
    assert figure.axes[2].get_xlabel().splitlines() == ["result 0", "g₁′ 0", "g₂′ 0"]
    assert figure.axes[0].get_xlabel().splitlines()[0] == "result 0"
    assert figure.axes[3].get_title() == "GradVac, φ̂ = −0.50"
    assert len(figure.axes[0].patches) == 2
    assert len(figure.axes[0].lines) == 1


def test_aggregates_explorer():
    explorer = aggregates_explorer()
    controls = dict(
        zip(("angle2", "length2", "angle3", "length3", "phi_hat"), explorer.children[1:])
    )
    assert shows(explorer, figures.four_aggregates(plane([0, 130], [1, 1.2]), 0.5))
    controls["length3"].value = 0.8
    assert shows(explorer, figures.four_aggregates(plane([0, 130, -100], [1, 1.2, 0.8]), 0.5))
    # the goal can be reached
    controls["length3"].value, controls["angle2"].value, controls["phi_hat"].value = 0, 100, 0.85
    assert vaccinated(plane([0, 100], [1, 1.2]), 0.85)[0].norm() == pytest.approx(1.87, abs=0.01)


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
    "returns None": lambda j: None,
    "this is a list": lambda j: (j @ j.T).tolist(),
    "this compares columns": lambda j: j.T @ j,
    "it returns the shape (3,)": lambda j: right_cosines(j).diag(),
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
def test_cosine_matrix_rejects(why):
    torch.set_default_dtype(torch.float32)
    rejects(checks.cosine_matrix, WRONG_COSINES[why], why)


RIGHT_COSINES = {
    "by hand": right_cosines,
    "from the Gramian": lambda j: cosines(j @ j.T),
    "torch's": lambda j: cosine_similarity(j[:, None], j[None], dim=2),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("form", RIGHT_COSINES)
def test_cosine_matrix_accepts(form, dtype):
    torch.set_default_dtype(dtype)
    accepts(checks.cosine_matrix, RIGHT_COSINES[form])
