"""Which grouping."""

import pytest
import torch
import torchjd
from checking import accepts, rejects
from looking import shows as shows_picture
from torch import nn
from torch.nn import Linear, PReLU, ReLU, Sequential
from torchjd.aggregation import GradVac as TorchjdGradVac

from cgtutor import GradVac
from cgtutor.aggregation import Report
from cgtutor.autojac import jac_to_grad, mtl_backward
from cgtutor.course.shared import style
from cgtutor.course.shared.data import digits
from cgtutor.course.shared.speed import median_times
from cgtutor.course.shared.training import best_learning_rate, best_runs, sweep, table
from cgtutor.course.which_grouping import checks, figures
from cgtutor.course.which_grouping.explorer import grouping_explorer
from cgtutor.course.which_grouping.recording import (
    Gramians,
    labels,
    places,
    record_gramians,
    replay_vaccine,
    stack_reports,
)
from cgtutor.course.which_grouping.runs import (
    STRATEGIES,
    Difference,
    SceneRun,
    columns,
    difference,
    train_grouped,
    ways_to_gradients,
)
from cgtutor.course.which_grouping.scenes import TASKS, scene_net, scenes
from cgtutor.grouping import (
    GroupedGradVac,
    all_layer,
    all_matrix,
    check_partition,
    enc_dec,
    whole_model,
)

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def tiny():
    return scenes(100, 20, 20)


@pytest.fixture(scope="module")
def recorded(tiny):
    return record_gramians(tiny, steps=12)


def test_scenes_show_the_digits_that_they_name():
    data = scenes(50, 20, 30)
    assert [part.x.shape for part in data] == [(50, 144), (20, 144), (30, 144)]
    assert [part.y.shape for part in data] == [(50, 3), (20, 3), (30, 3)]
    for part, split in zip(data, digits()):
        pictures = part.x.view(-1, 12, 12)
        assert pictures[:, :4, 8:].max() == pictures[:, 8:, :4].max() == 0
        for picture, (upper, lower, larger) in zip(pictures, part.y.tolist()):
            # outside the overlap, the corner is that of one of the digits named
            mine = split.x[split.y == upper].view(-1, 8, 8)
            assert (mine[:, :4] == picture[:4, :8]).all((1, 2)).any()
            mine = split.x[split.y == lower].view(-1, 8, 8)
            assert (mine[:, 4:] == picture[8:, 4:]).all((1, 2)).any()
            assert larger == (upper > lower)
    assert torch.equal(scenes(50, 20, 30).test.x, data.test.x)
    assert not torch.equal(scenes(50, 20, 30, seed=1).test.x, data.test.x)


def test_where_digits_overlap_the_darker_is_seen():
    part, split = scenes(20, 5, 5).train, digits().train
    generator = torch.Generator().manual_seed(0)
    upper, lower = torch.randint(len(split.y), (2, 20), generator=generator)
    corner = part.x.view(-1, 12, 12)[:, 4:8, 4:8]
    one = split.x[upper].view(-1, 8, 8)[:, 4:, 4:]
    other = split.x[lower].view(-1, 8, 8)[:, :4, :4]
    assert torch.equal(corner, torch.maximum(one, other))


def test_scene_net():
    before = torch.get_rng_state()
    one, same, other = scene_net(1), scene_net(1), scene_net(2)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(one.encoder[0].weight, same.encoder[0].weight)
    assert not torch.equal(one.encoder[0].weight, other.encoder[0].weight)
    features = one(torch.rand(5, 144))
    assert features.shape == (5, 8)
    losses = one.losses(features, torch.tensor([[9, 0, 1]] * 5))
    assert len(losses) == len(TASKS) == 3
    expected = nn.functional.cross_entropy(one.heads[0](features), torch.full((5,), 9))
    assert torch.equal(losses[0], expected)
    assert one.shared_names()[:3] == ["encoder.0.weight", "encoder.0.bias", "encoder.1.weight"]
    assert len(one.shared_names()) == 12


def test_groups_of_the_network():
    net = scene_net()
    found = {name: strategy(net.encoder, net.decoder) for name, strategy in STRATEGIES.items()}
    assert {name: len(groups) for name, groups in found.items()} == {
        "whole_model": 1,
        "enc_dec": 2,
        "all_layer": 8,
        "all_matrix": 12,
    }
    for groups in found.values():
        check_partition(groups, net.encoder, net.decoder)
    assert places(found["enc_dec"], net.encoder, net.decoder) == [[*range(6)], [*range(6, 12)]]


def test_labels():
    names = ["a.0.weight", "a.0.bias", "a.1.weight", "b.0.weight"]
    assert labels([[0, 1, 2, 3]], names) == ["whole model"]
    assert labels([[0, 1, 2], [3]], names) == ["a", "b.0.weight"]
    assert labels([[0, 1], [2, 3]], names, [1000, 200, 3, 4]) == [
        *("a.0 (1,200)", "a.1.weight and 1 more (7)")
    ]


def eight_steps(strategy, way):
    """Two shared layers, two heads, eight batches, in one of three ways."""
    torch.manual_seed(0)
    encoder, decoder = Sequential(Linear(10, 5), ReLU()), Sequential(Linear(5, 3), ReLU())
    heads = [Linear(3, 1), Linear(3, 1)]
    inputs, answers = torch.randn(8, 16, 10), torch.randn(8, 2, 16, 1)
    parameters = [p for module in (encoder, decoder, *heads) for p in module.parameters()]
    optimizer = torch.optim.SGD(parameters, lr=0.1)
    groups = strategy(encoder, decoder)
    vaccines = [TorchjdGradVac() if way == "torchjd" else GradVac() for _ in groups]
    grouped = GroupedGradVac(groups)
    back, to_grad = mtl_backward, jac_to_grad
    if way == "torchjd":
        back, to_grad = torchjd.autojac.mtl_backward, torchjd.autojac.jac_to_grad
    for x, y in zip(inputs, answers):
        features = decoder(encoder(x))
        losses = [nn.functional.mse_loss(head(features), t) for head, t in zip(heads, y)]
        back(losses, features=features)
        if way == "grouped":
            grouped.jac_to_grad()
        else:
            for group, vaccine in zip(groups, vaccines):
                to_grad(group, vaccine)
        optimizer.step()
        optimizer.zero_grad()
    return nn.utils.parameters_to_vector(parameters).detach()


@pytest.mark.parametrize("strategy", [whole_model, enc_dec, all_layer, all_matrix])
def test_loop_and_batch_are_torchjds_numbers(strategy):
    torch.set_default_dtype(torch.float64)
    theirs = eight_steps(strategy, "torchjd")
    for way in ("loop", "grouped"):
        torch.testing.assert_close(eight_steps(strategy, way), theirs, rtol=0, atol=1e-9)


def test_train(tiny):
    state = torch.get_rng_state()
    run = train_grouped(None, 0.01, 3, tiny, steps=40)
    assert torch.equal(torch.get_rng_state(), state)
    assert run.steps == [15, 30, 40]
    assert run.validation_loss[-1] < run.validation_loss[0]
    assert len(run.test_accuracy) == 3
    assert all(0 <= accuracy <= 1 for accuracy in run.test_accuracy)
    assert train_grouped(None, 0.01, 3, tiny, steps=40) == run
    assert train_grouped(None, 0.01, 4, tiny, steps=40) != run


def test_plain_sum_by_hand(tiny):
    net, generator = scene_net(5), torch.Generator().manual_seed(5)
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01, fused=True)
    for batch in reversed(torch.randperm(100, generator=generator).split(50)):
        optimizer.zero_grad()
        sum(net.losses(net(tiny.train.x[batch]), tiny.train.y[batch])).backward()
        optimizer.step()
    run = train_grouped(None, 0.01, 5, tiny, steps=2)
    with torch.no_grad():
        features = net(tiny.test.x)
    assert run.test_loss == pytest.approx(sum(net.losses(features, tiny.test.y)).item(), rel=1e-5)
    right = [(h(features).argmax(1) == t).sum().item() for h, t in zip(net.heads, tiny.test.y.T)]
    assert run.test_accuracy == [pytest.approx(hits / 20) for hits in right]


def test_train_hands_out_the_vaccine(tiny):
    reports = []
    train_grouped(
        all_layer,
        0.02,
        0,
        tiny,
        steps=3,
        beta=0.25,
        after_step=lambda v: reports.append((v, v.report)),
    )
    assert len(reports) == 3
    assert isinstance(reports[0][0], GroupedGradVac)
    assert reports[0][0].beta == 0.25
    assert reports[0][1].frequency.shape == (8,)
    assert (
        train_grouped(all_layer, 0.02, 0, tiny, steps=3).validation_loss
        != train_grouped(None, 0.02, 0, tiny, steps=3).validation_loss
    )


def fake(*losses, test=0.0, accuracy=(0.0, 0.0, 0.0)):
    return SceneRun(list(range(1, len(losses) + 1)), list(losses), test, list(accuracy))


def test_sweep(tiny):
    results = sweep(
        {"plain": None, "same": None, "vaccine": enc_dec}, [0.1], range(2), train_grouped, tiny, 3
    )
    assert results["plain"] == results["same"]
    assert results["vaccine"][0.1] == [
        train_grouped(enc_dec, 0.1, seed, tiny, 3) for seed in (0, 1)
    ]


def test_best_runs():
    nan = float("nan")
    results = {"one": {0.1: [fake(9, 2)], 0.2: [fake(9, 1)]}, "two": {0.1: [fake(nan)], 0.2: []}}
    results["two"][0.2] = [fake(99.0)]
    assert best_runs(results) == {"one": [fake(9, 1)], "two": [fake(99.0)]}
    assert [best_learning_rate(trials) for trials in results.values()] == [0.2, 0.2]


def test_difference():
    mine, theirs = [fake(test=1.5), fake(test=2.5)], [fake(test=1.0), fake(test=3.0)]
    assert difference(mine, theirs) == Difference(0.0, pytest.approx(0.5**0.5), 1)


def test_table():
    results = {
        "plain": {0.1: [fake(2.0, test=1.0), fake(4.0, test=2.0)], 0.2: [fake(9.0)] * 2},
        "other": {0.1: [fake(9.0)] * 2, 0.2: [fake(1.0, test=1.5), fake(1.0, test=2.5)]},
    }
    assert table(results, columns(best_runs(results)["plain"])).splitlines() == [
        "validation loss at each learning rate, and test loss at the best of these",
        " " * 22 + "0.1     0.2     test loss     above the first line, seed by seed",
        "plain                 3.00    9.00    1.50 ± 0.71",
        "other                 9.00    1.00    2.00 ± 0.71   0.50 ± 0.00, 2 of 2 higher",
    ]


def test_times_of_all_ways_to_gradients(monkeypatch):
    clock = iter(range(1000))
    monkeypatch.setattr("time.perf_counter", lambda: next(clock) ** 2)
    net = scene_net()
    times = median_times(ways_to_gradients(net, batch=2), 1, 1, before=net.zero_grad)
    # every pass of every way asks twice, and only what comes after the warm-up counts
    assert list(times) == [
        *("plain sum", "whole_model", "enc_dec", "all_layer", "all_matrix"),
        *("all_matrix, a loop", "all_layer, streaming"),
    ]
    assert len(set(times.values())) == 7


def test_record_is_the_plain_sum(tiny):
    """Its last Gramians are those of a network trained on the sum by ordinary means."""
    torch.set_default_dtype(torch.float64)
    data = type(tiny)(*(type(part)(part.x.double(), part.y) for part in tiny))
    taken = record_gramians(data, lr=0.01, seed=1, steps=3)
    assert taken.gramians.shape == (3, 12, 3, 3)
    assert taken.sizes[:3] == [3456, 24, 1]
    net, generator = scene_net(1), torch.Generator().manual_seed(1)
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01, fused=True)
    order = [*reversed(torch.randperm(100, generator=generator).split(50))]
    order += [*reversed(torch.randperm(100, generator=generator).split(50))]
    for step, batch in enumerate(order[:3]):
        losses = net.losses(net(data.train.x[batch]), data.train.y[batch])
        shared = [*net.encoder.parameters(), *net.decoder.parameters()]
        each = [torch.autograd.grad(loss, shared, retain_graph=True) for loss in losses]
        for k, rows in enumerate(zip(*each)):
            J = torch.stack([row.flatten() for row in rows])
            torch.testing.assert_close(taken.gramians[step, k], J @ J.T)
        optimizer.zero_grad()
        sum(losses).backward()
        optimizer.step()


def test_regroup_adds_gramians_up(recorded):
    whole = recorded.regroup(recorded.groups["whole_model"])
    torch.testing.assert_close(whole[:, 0], recorded.gramians.sum(1))
    pair = recorded.regroup([[2, 5], [0]])
    torch.testing.assert_close(pair[:, 0], recorded.gramians[:, 2] + recorded.gramians[:, 5])
    torch.testing.assert_close(pair[:, 1], recorded.gramians[:, 0])


def test_replay_is_what_a_vaccine_says(tiny, recorded):
    """At the first step both stand at the same weights, so the report is the same."""
    reports = []
    train_grouped(
        all_layer, 0.02, 0, tiny, steps=1, after_step=lambda vaccine: reports.append(vaccine.report)
    )
    report = replay_vaccine(recorded, recorded.groups["all_layer"])
    assert report.frequency.shape == (12, 8)
    for field in ("gramian", "targets", "similarities", "coefficients"):
        torch.testing.assert_close(
            getattr(report, field)[0], getattr(reports[0], field), rtol=1e-4, atol=1e-7
        )
    assert not torch.equal(report.targets[5], report.targets[6])
    frozen = replay_vaccine(recorded, recorded.groups["all_layer"], beta=0)
    assert not frozen.targets.any()


def test_stack_reports():
    one, two = (Report(*(torch.full((2, 3, 3), value) for _ in range(4))) for value in (1.0, 2.0))
    report = stack_reports([one, two])
    assert report.gramian.shape == (2, 2, 3, 3)
    assert report.targets[:, 0, 0, 0].tolist() == [1, 2]


def boxes(ax):
    return [(p.get_x(), p.get_width(), round(p.get_y() + 0.4)) for p in ax.patches]


def test_partitions():
    figure = figures.partitions(
        ["w", "b", "v", "c"],
        [1000, 10, 100, 1],
        {"all": [[0, 1, 2, 3]], "two": [[0, 1], [2]], "mixed": [[0, 2], [1, 3]]},
    )
    (ax,) = figure.axes
    assert boxes(ax) == [
        (0, 4, 0),
        *((0, 2, 1), (2, 1, 1), (3, 1, 1)),
        *((0, 1, 2), (1, 1, 2), (2, 1, 2), (3, 1, 2)),
    ]
    assert [text.get_text() for text in ax.texts] == [
        "group 1: 1,111 numbers",
        *("1,010", "100"),
        *("1,000", "10", "100", "1"),
    ]
    assert [p.get_hatch() for p in ax.patches] == [None, None, None, "///", None, None, None, None]
    shades = [p.get_facecolor() for p in ax.patches]
    assert shades[1] != shades[2]
    assert shades[4] == shades[6] != shades[5]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["all", "two", "mixed"]
    assert [label.get_text() for label in ax.get_xticklabels()] == ["w", "b", "v", "c"]
    assert "4 tensors, which have 1,111 numbers in all" in figure.alt
    assert figure.alt.endswith("all: 1; two: 2; mixed: 2.")


def test_interventions():
    values = torch.tensor([[0.0, 1.0], [0.5, 1.0], [1.0, 0.0]])
    figure = figures.interventions(values, ["one", "two"], window=2)
    ax, bar = figure.axes
    assert ax.images[0].get_array().tolist() == [[0.25, 1.0], [1.0, 0.0]]
    assert ax.images[0].get_clim() == (0, 1)
    assert [text.get_text() for text in ax.texts] == ["mean", "one", "0.50", "two", "0.67"]
    assert [text.get_position()[1] for text in ax.texts[1:]] == [0, 0, 1, 1]
    assert ax.get_xlabel() == "step (each column: mean of 2)"
    assert "share of their length" in bar.get_xlabel()
    assert "over 3 steps" in figure.alt
    assert figure.alt.endswith("one: 0.50; two: 0.67.")
    figure = figures.interventions(-values, ["one", "two"], "cosine")
    assert figure.axes[0].images[0].get_clim() == (-1, 1)


def test_compare_runs():
    one = [fake(4.0, 2.0, test=2.0), fake(2.0, 1.0, test=1.0)]
    figure = figures.compare_runs({"sum": one, "other": [fake(3.0, 3.0, test=3.0)]})
    left, right = figure.axes
    assert left.lines[0].get_ydata() == pytest.approx([3.0, 1.5])
    assert list(left.lines[0].get_xdata()) == [1, 2]
    assert list(right.lines[0].get_xdata()) == [2.0, 1.0]
    assert list(right.lines[1].get_xdata()) == [1.5, 1.5]
    assert [text.get_text() for text in figure.legends[0].texts] == ["sum", "other"]
    assert [label.get_text() for label in right.get_yticklabels()] == ["sum", "other"]
    assert figure.alt.endswith("sum: 1.5; other: 3.0.")
    with pytest.raises(ValueError, match="at most 5 names, got"):
        figures.compare_runs(dict.fromkeys("abcdef", one))


def test_baseline_has_a_look_of_its_own():
    looks = style.WITH_BASELINE
    for key in ("color", "linestyle", "marker"):
        assert len({str(look[key]) for look in looks}) == len(looks) == 5


def test_cosine_steps():
    figure = figures.cosine_steps({"one": [0.5, -0.25, 0.0], "two": [1.0, 1.0, -1.0]})
    left, right = figure.axes
    agree, oppose = left.collections
    assert agree.get_offsets().tolist() == [[1, 0.5], [3, 0.0]]
    assert oppose.get_offsets().tolist() == [[2, -0.25]]
    assert [ax.get_title() for ax in (left, right)] == ["one", "two"]
    assert left.get_ylabel() == "cosine of two tasks"
    assert figure.alt.endswith("one: from -0.2 to 0.5; two: from -1.0 to 1.0.")


def test_cosine_steps_without_a_conflict():
    figure = figures.cosine_steps({"one": [0.5, 0.25]})
    assert len(figure.axes[0].collections[1].get_offsets()) == 0


def test_explorer_draws_the_static_figure(recorded):
    explorer = grouping_explorer(recorded)
    strategy, beta, shows = explorer.children[1:4]
    assert list(strategy.options) == list(STRATEGIES)
    report = replay_vaccine(recorded, recorded.groups["all_layer"], 0.25)
    values = {
        "strength": report.strength.mean(-1),
        "frequency": report.frequency,
        "cosine": report.cosines[:, :, 0, 1],
    }
    rows = labels(recorded.groups["all_layer"], recorded.names, recorded.sizes)
    strategy.value, beta.value = "all_layer", 0.25
    for quantity, shown in values.items():
        shows.value = quantity
        expected = figures.interventions(shown, rows, quantity)
        assert shows_picture(explorer, expected)


def right(net):
    groups, seen = [], set()
    for block in net:
        group = [p for p in block.parameters() if p.requires_grad and p not in seen]
        seen.update(group)
        if group:
            groups.append(group)
    return groups


def with_last_owner(net):
    groups, seen = [], set()
    for block in reversed(list(net)):
        group = [p for p in block.parameters() if p.requires_grad and p not in seen]
        seen.update(group)
        groups += [group] if group else []
    return groups[::-1]


def swapped(net):
    first, second, *rest = right(net)
    return [[second[0], *first[1:]], [first[0], *second[1:]], *rest]


def each_block(net, keep):
    return [g for block in net if (g := [p for p in block.parameters() if keep(p)])]


def seen_is_a_list(net):
    groups, seen = [], []
    for block in net:
        groups.append([p for p in block.parameters() if p not in seen])
        seen += groups[-1]
    return groups


def unfreeze(net):
    net.requires_grad_(True)
    return right(net)


WRONG = {
    "as it comes, it returns None; is the word `return` missing": lambda net: None,
    "a generator, not a list of lists": lambda net: (list(b.parameters()) for b in net),
    "an empty list": lambda net: [],
    "groups[0] is a generator, not a list of parameters; use list(...)": (
        lambda net: [b.parameters() for b in net if list(b.parameters())]
    ),
    "groups[0] is a Parameter, not a list of parameters.": lambda net: list(net.parameters()),
    "groups[0][0] is a tuple, not a parameter; parameters() has them": (
        lambda net: [list(b.named_parameters()) for b in net if list(b.parameters())]
    ),
    "groups[0][0] is a Linear, not a parameter.": lambda net: [[block] for block in net],
    "groups[1] is empty; a block without parameters": (
        lambda net: [list(block.parameters()) for block in net]
    ),
    "groups[0][0] is none of its parameters; was it copied": (
        lambda net: [[p.detach().clone() for p in group] for group in right(net)]
    ),
    "with frozen parameters, 0.weight is frozen, and yet in groups[0]": (
        lambda net: each_block(net, lambda p: True)
    ),
    "with frozen parameters, 0.weight is frozen": unfreeze,
    "with a tied weight, 0.weight (tied: it is 2.2.weight as well) is in groups[0] and again in": (
        lambda net: each_block(net, lambda p: p.requires_grad)
    ),
    "0.weight is in groups[0] and again in groups[0]": (
        lambda net: [g + g[:1] for g in right(net)]
    ),
    "no group has 0.weight and 0.bias.": lambda net: right(net)[1:],
    "no group has 0.bias and": lambda net: each_block(net, lambda p: p.ndim == 2),
    "with a tied weight, 0.weight belongs to its first block, not to that of 2.2.weight": (
        with_last_owner
    ),
    "(this is whole_model)": whole_model,
    "(this is all_matrix)": all_matrix,
    "the groups have 1, 2, 2, 2, 2 parameters, the blocks 2, 2, 5 (a block may have": (all_layer),
    "the groups have 3, 6 parameters, the blocks 2, 2, 5.": (
        lambda net: [
            right(net)[0] + right(net)[1][:1],
            [p for group in right(net)[1:] for p in group][1:],
        ]
    ),
    "the counts are right, but parameters of different blocks share": swapped,
    "'blocks'": lambda net: net.blocks(),
    "`p in seen` compares numbers if seen is a list; with a set it does not)": seen_is_a_list,
}


@pytest.mark.parametrize("why", WRONG)
def test_one_group_for_each_block_rejects(why):
    rejects(checks.one_group_for_each_block, WRONG[why], why)


def test_one_group_for_each_block_names_the_network():
    said = rejects(
        checks.one_group_for_each_block, lambda net: None, "is the word `return` missing?\n"
    )
    assert said.startswith("Not yet: with the network as it comes, ")


@pytest.mark.parametrize("order", [1, -1])
def test_one_group_for_each_block_accepts(order):
    verdict = accepts(checks.one_group_for_each_block, lambda net: right(net)[::order])
    assert verdict == "Right! Disjoint, complete, one group for each block, in 3 networks.\n"


def test_right_partition_passes_the_librarys_check():
    net = Sequential(Sequential(Linear(2, 3), PReLU()), ReLU(), Linear(3, 1))
    check_partition(right(net), net)
    assert [len(group) for group in right(net)] == [3, 2]


@pytest.mark.parametrize(
    ("g1", "g2", "why"),
    [
        ([1, 2, 3, 4], None, "g2 must be a tensor of four numbers, not NoneType"),
        ([1, 2, 3], [1, 2, 3, 4], "g1 must be a tensor of four numbers, not shape (3,)"),
        ([1, 2, float("nan"), 4], [1, 2, 3, 4], "g1 has a number that is not finite"),
        ([1, 1, 1, 1], [1, 1, 0, 0], "g2 is zero in the second group"),
        ([0, 0, 1, 1], [1, 1, 1, 1], "g1 is zero in the first group"),
        ([2, 1, 1, 1], [1, 2, 1, 1], "0.86 over all four numbers and 1.00 in the second group"),
        ([1e-200] * 4, [1e-200] * 4, "1.00 over all four numbers and 1.00 in the second"),
        ([1e200] * 4, [-1e200] * 4, "-1.00 over all four numbers and -1.00 in the second"),
        ([1, 1, 1e-200, 0], [1, 1, 0, 1e-200], "1.00 over all four numbers and 0.00 in the second"),
        ([9, 9, 1, 1], [9, 9, 1, -1], "should be below -0.9 there. Which signs"),
        ([2, 1, 1, 1], [2, 1, -1, -1], "should be above 0.9 over all four. Dot products add"),
    ],
)
def test_hidden_conflict_rejects(g1, g2, why):
    given = tuple(g and torch.tensor(g, dtype=torch.float64) for g in (g1, g2))
    rejects(checks.hidden_conflict, given, why)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.int64], ids=str)
def test_hidden_conflict_accepts(dtype):
    g1, g2 = (torch.tensor(g, dtype=dtype) for g in ([5, 5, 1, 1], [5, 5, -1, -1]))
    assert accepts(checks.hidden_conflict, g1, g2) == (
        "Right! The cosine is 0.92 over all four numbers and -1.00 in the second group.\n"
    )


def test_what_is_recorded(recorded):
    assert isinstance(recorded, Gramians)
    assert recorded.groups.keys() == STRATEGIES.keys()
