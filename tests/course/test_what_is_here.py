"""What is here."""

import copy
import difflib
import importlib.metadata
import importlib.util
import json
import math
import platform
import re

import matplotlib.pyplot as plt
import nbformat
import pytest
import torch
from checking import accepts, rejects, said
from looking import drawn_by
from test_project import NOTEBOOKS as FILES
from test_project import README, ROOT

from cgtutor import course
from cgtutor.aggregation import PCGrad
from cgtutor.course import NOTEBOOKS, markdown_map, requirements
from cgtutor.course.shared.tasks import plane, vaccinated
from cgtutor.course.what_is_here import checks, explorer, figures, machine, study

GLOSSARY = ROOT / "notebooks" / "glossary.ipynb"
TEXTS = {
    path.name: "\n\n".join(
        cell.source
        for cell in nbformat.read(path, as_version=4).cells
        if cell.cell_type == "markdown"
    )
    for path in [*FILES, GLOSSARY]
}
NUMBERED = [path.name for path in FILES]
HERE = nbformat.read(FILES[0], as_version=4)


# ------------------------------------------------------------------ the list and the map


def test_the_list_is_that_of_the_files():
    assert [f"{notebook.name}.ipynb" for notebook in NOTEBOOKS] == NUMBERED
    numbers = [notebook.number for notebook in NOTEBOOKS]
    assert numbers == [f"{k:02d}" for k in range(len(NOTEBOOKS))]
    assert all(other in numbers[:k] for k, n in enumerate(NOTEBOOKS) for other in n.after)


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda notebook: notebook.number)
def test_one_question_everywhere(notebook):
    text = TEXTS[f"{notebook.name}.ipynb"]
    assert text.startswith(f"# {notebook.question}\n")
    assert f"**Time:** {notebook.minutes} minutes" in text
    row = f"| [{notebook.number}](notebooks/{notebook.name}.ipynb) | {notebook.question} |"
    assert row in README
    link = f"[{notebook.number} {notebook.question}]({notebook.name}.ipynb)"
    assert TEXTS["00_what_is_here.ipynb"].count(f"{link} · {notebook.minutes} min") == 1


def test_the_map_has_a_path_in_each_column(monkeypatch):
    """Also with a notebook more, as the last stop of both."""
    more = course.Notebook("12_one_more", "One more?", 20, "both", ("11",))
    monkeypatch.setattr(course, "NOTEBOOKS", (*NOTEBOOKS, more))
    start, _, headings, rule, *rows, _, end = markdown_map().splitlines()
    assert start.startswith("**Start here:** [00 ")
    assert re.search(r"\(11_your_own_project.ipynb\) · \d+ min; \[12 One more\?\]", end)
    assert end.endswith("(12_one_more.ipynb) · 20 min")
    assert all(line.count("|") == 3 for line in (headings, rule, *rows))
    for column, part in ((1, "optimizers"), (2, "tasks")):
        found = re.findall(r"\[(\d\d) ", "".join(row.split("|")[column] for row in rows))
        assert found == [notebook.number for notebook in NOTEBOOKS if notebook.part == part]
    hours = sum(notebook.minutes for notebook in NOTEBOOKS if notebook.part == "tasks") / 60
    assert f"several tasks · {hours:.1f} hours |" in headings


@pytest.mark.parametrize("more", [(), (course.Notebook("12_x", "?", 20, "both", ("11",)),)])
def test_course_map(more, monkeypatch):
    notebooks = (*NOTEBOOKS, *more)
    monkeypatch.setattr(figures, "NOTEBOOKS", notebooks)
    figure = figures.course_map()
    (ax,) = figure.axes
    stops = {t.get_text(): t.get_position() for t in ax.texts if t.get_text().isdigit()}
    assert sorted(stops) == [notebook.number for notebook in notebooks]
    for part, height in (("optimizers", 1), ("tasks", -1), ("both", 0)):
        places = [stops[notebook.number] for notebook in notebooks if notebook.part == part]
        assert {y for _, y in places} == {height}
        assert [x for x, _ in places] == sorted(x for x, _ in places)
    assert all(notebook.number in figure.alt for notebook in notebooks)
    plt.close(figure)


# --------------------------------------------------------------------------------- links


def anchors(text):
    """Where links into a notebook may lead, as JupyterLab makes them of headings."""
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return [heading.replace("`", "").replace(" ", "-") for heading in headings]


@pytest.mark.parametrize("name", TEXTS)
def test_links_lead_somewhere(name):
    for target, anchor in re.findall(r"\]\((?!https?://)([^)#]*)(?:#([^)]*))?\)", TEXTS[name]):
        assert (target or name) in TEXTS, target
        if anchor:
            there = anchors(TEXTS[target or name])
            lower = {other.lower(): other for other in there}
            near = difflib.get_close_matches(anchor.lower(), lower, 1, 0.4)
            meant = f"{target}#{anchor}: no such heading; near it: {[lower[n] for n in near]}"
            assert anchor in there, meant


@pytest.mark.parametrize("name", NUMBERED)
def test_leads_on_and_back(name):
    """To the next notebook, by number and title, and to the glossary."""
    (k,) = [k for k, n in enumerate(NOTEBOOKS) if f"{n.name}.ipynb" == name]
    if k < 11:
        following = NOTEBOOKS[k + 1]
        link = f"[{following.number} {following.question}]({following.name}.ipynb)"
        assert TEXTS[name].rstrip().endswith(f"**Next:** {link}")
    assert "(glossary.ipynb)" in TEXTS[name]


@pytest.mark.parametrize("name", TEXTS)
def test_one_word_for_one_thing(name):
    """A memory inserts, rejects and evicts, and priorities decay: the glossary has no others."""
    other = r"fad(?:es?|ed|ing)|refus\w+|accept\w*|turn\w* away|newcomer|anew|giv\w+ back|fed"
    prose = re.sub(r"```.*?```|`[^`]*`", "", TEXTS[name], flags=re.DOTALL)  # `fade()` is a name
    assert re.findall(rf"\b(?:{other})\b", prose) == []


# ------------------------------------------------------------------------------ glossary

ENTRIES = dict(re.findall(r"^### (.+)\n\n(.+)$", TEXTS[GLOSSARY.name], re.MULTILINE))


def test_glossary():
    """Each term once, with a meaning in one to three sentences and a notebook."""
    terms = re.findall(r"^### (.+)$", TEXTS[GLOSSARY.name], re.MULTILINE)
    assert len(terms) == len({term.lower() for term in terms}) > 80
    assert list(ENTRIES) == terms
    for term, entry in ENTRIES.items():
        meaning, number = re.fullmatch(r"(.+) \[Notebook (\d\d)\]\(\2_\w+\.ipynb\)", entry).groups()
        assert number < f"{len(NOTEBOOKS):02d}"
        assert re.search(r"\.$", meaning), term
        assert 1 <= len(re.findall(r"[.;] |\.$", meaning)) <= 5, term
        assert f"[{term}](#{term.replace(' ', '-')})" in TEXTS[GLOSSARY.name]
    needed = "topC Decay kappa Priority Jacobian Gramian Grouping Outlier Clipping Worst-case-error"
    needed += " Residence-time Weight-inequality Synced-priority Stand-in Insert Evict Reject"
    assert set(needed.split()) <= set(anchors(TEXTS[GLOSSARY.name]))


@pytest.mark.parametrize("term", ["Insert", "Reject"])
def test_what_is_inserted_depends_on_the_priority(term):
    entry = ENTRIES[term]
    assert "priority" in entry
    assert "norm" not in entry
    assert re.search(r"zero, or one that is not finite.* (?:never|always) ", entry)


def test_the_glossary_is_text_in_the_normal_form():
    spec = importlib.util.spec_from_file_location("rg", ROOT / "notebooks" / "regenerate.py")
    spec.loader.exec_module(regenerate := importlib.util.module_from_spec(spec))
    notebook = nbformat.read(GLOSSARY, as_version=4)
    assert {cell.cell_type for cell in notebook.cells} == {"markdown"}
    normal = nbformat.writes(regenerate.normalised(copy.deepcopy(notebook))) + "\n"
    assert GLOSSARY.read_text(encoding="utf-8") == normal


# ------------------------------------------------------------------------ the two pictures


def test_moments_by_hand():
    """The trace 4, 1, 3, 0.2 with two slots and half the priority after each step, and on."""
    moments = study.moments()
    assert len(moments) == 1 + 3 * 8
    after = [{s: round(p, 6) for s, p in m.priorities.items()} for m in moments[3::3]]
    assert after[:5] == [{1: 2}, {1: 1, 2: 0.5}, {3: 1.5, 1: 0.5}, {3: 0.75, 1: 0.25}, after[4]]
    assert after[4:] == [
        {3: 0.375, 5: 0.25},
        {6: 1, 3: 0.1875},
        {6: 0.5, 3: 0.09375},
        {6: 0.25, 8: 0.15},
    ]
    assert moments[-1].left == {2: 3, 1: 5, 5: 6, 3: 8}
    assert [m.arriving for m in moments] == [False, *[True, False, False] * 8]
    assert [m.full for m in moments] == [False] * 5 + [True] * 20
    assert moments[14].caption == (
        "0.5 is more than 0.25, the smallest priority in the memory. So the memory inserts the new "
        "gradient and evicts the 4."
    )
    assert "0.2 is not more than 0.5" in moments[11].caption
    assert "rejects" in moments[11].caption
    assert "free" in moments[5].caption
    assert "is halved" in moments[6].caption
    assert "multiplied by 0.9" in study.moments(decay=0.9)[6].caption


@pytest.mark.parametrize("decay", [0, 0.5, 0.7, 0.87, 1])
def test_the_picture_shows_what_the_optimizer_keeps(decay):
    last = study.moments(decay=decay)[-1]
    assert [study.NORMS[step - 1] for step in last.priorities] == study.kept(decay)


def test_memory():
    moment = study.moments()[13]  # the 0.5 arrives
    figure = figures.memory(moment, title="Two slots")
    (ax,) = figure.axes
    outlines = [bar.get_height() for bar in ax.patches[:8]]
    assert outlines == list(study.NORMS)
    filled = {round(bar.get_x() + 0.3): bar.get_height() for bar in ax.patches[8:]}
    assert filled == {3: 0.75, 1: 0.25, 5: 0.5}
    (dotted,) = ax.lines
    assert set(dotted.get_ydata()) == {0.25}
    words = [text.get_text() for text in ax.texts]
    assert words.count("evicted") == words.count("rejected") == words.count("arrives") == 1
    assert "priority\n0.75" in words
    quick = figures.memory(moment, quick=True)
    assert len(quick.axes[0].texts) < len(ax.texts)
    plt.close("all")


def frames(player):
    """Its captions, and the size of what is stored for each picture."""
    page = player._data["text/html"]
    stored, captions = (
        json.loads(re.search(rf"{name} = (\[.*?\])[,;]", page)[1])
        for name in ("const frames", " captions")
    )
    return captions, [len(frame) for frame in stored]


def test_memory_at_work():
    player = figures.memory_at_work([4.0, 1.0, 3.0, 0.2, 0.5], topC=2, decay=0.5)
    captions, sizes = frames(player)
    assert captions == [m.caption for m in study.moments()[:16]]
    assert [k for k, size in enumerate(sizes) if not size] == [14]
    assert "In the memory at the end: 3 (priority 0.38) and 0.5 (priority 0.25)." in repr_of(player)
    assert "Evicted: 1 in step 3 and 4 in step 5. Rejected: 0.2." in repr_of(player)
    assert not plt.get_fignums()


def repr_of(player):
    return player._data["text/plain"]


def test_a_short_story_has_its_still_too():
    captions, sizes = frames(figures.memory_at_work([1.0], topC=2, decay=0.5))
    assert len(captions) == 4
    assert sizes[-1] == 0
    assert figures.outcome(study.moments([1.0])[-1], [1.0]) == (
        "In the memory at the end: 1 (priority 0.5). Evicted: none. Rejected: none."
    )


def test_meetings_by_hand():
    *before, last = study.meetings()
    assert all(torch.equal(m.vaccinated, m.gradients) for m in before), "they agree as usual"
    target = 0.0
    for meeting, angle in zip([*before, last], study.ANGLES):
        assert meeting.target == pytest.approx(target)
        assert meeting.cosine == pytest.approx(math.cos(math.radians(angle)))
        target = 0.5 * target + 0.5 * meeting.cosine
    torch.testing.assert_close(last.vaccinated, vaccinated(last.gradients, last.target))
    usual = math.degrees(math.acos(last.target))
    assert round(usual) == 70
    for changed, old in zip(last.vaccinated, last.gradients.flip(0)):
        assert figures.angle(changed, old) == pytest.approx(usual)
    plain, new = last.gradients.sum(0), last.vaccinated.sum(0)
    assert (last.gradients @ plain).round(decimals=2).tolist() == [-0.5, 7.5]
    assert (last.gradients @ new > 0).all()
    assert new.norm() > plain.norm()


def test_arrows():
    last = study.meetings()[-1]
    plain = last.gradients.sum(0)
    figure = figures.arrows(last, total=plain)
    words = [text.get_text() for text in figure.axes[0].texts]
    assert {"A", "B", "sum, length 2.6", "a sum here\nmakes A worse"} <= set(words)
    grey = [patch for patch in figure.axes[0].patches if patch.get_zorder() == 0.5]
    places = {"worse": plain, "better": last.vaccinated.sum(0), "worse for B": plain.new([2, 0.3])}
    inside = {k: [p.get_path().contains_point(v.tolist()) for p in grey] for k, v in places.items()}
    assert inside == {
        "worse": [True, False],
        "better": [False, False],
        "worse for B": [False, True],
    }
    turned = figures.arrows(last, turned=(0.5, 0))
    assert any("A and the old B" in text.get_text() for text in turned.axes[0].texts)
    turned = figures.arrows(last, turned=(1, 1))
    assert any("B and the old A: 70°" in text.get_text() for text in turned.axes[0].texts)
    agreeing = figures.arrows(study.meetings()[0])
    assert not any("B worse" in text.get_text() for text in agreeing.axes[0].texts)
    plt.close("all")


def test_vaccine_at_work():
    player = figures.vaccine_at_work([70, 120], [1, 3])
    captions, _ = frames(player)
    assert len(captions) == 1 + 2 + 4 + 4 + 1
    assert captions[1] == "Step 2: suddenly 120° apart. The tasks are in conflict."
    assert "length 2.65 and makes task A worse" in repr_of(player)
    assert not plt.get_fignums()


# ------------------------------------------------------------------------------- explorer


def test_explorer(monkeypatch):
    drawn = drawn_by(explorer, "memory", monkeypatch)
    made = explorer.decays(study.kept)
    reaching = []
    for hundredths in range(101):
        if made._reached(hundredths / 100):
            reaching.append(hundredths)
    assert reaching == [87]
    assert "Reached" not in made.goal.value
    made.set(decay=0.87)
    assert "Reached" in made.goal.value
    assert "In the memory at the end: 2 (priority 1.3) and 4 (priority 1.3)." in drawn[-1].alt
    made.set(decay=0.9)
    assert "Reached" not in made.goal.value
    limits = {(figure.axes[0].get_xlim(), figure.axes[0].get_ylim()) for figure in drawn}
    assert len(drawn) == 3
    assert len(limits) == 1, "axes stay"


def test_the_explorer_asks_the_readers_function():
    made = explorer.decays(lambda decay: [4.0] if decay >= 0.2 else [])
    assert made._reached(0.2)
    assert not made._reached(0.87)
    assert not explorer.decays(lambda decay: [4.0])._reached(0.0)


# --------------------------------------------------------------------------------- checks


def kept(decay, steps=study.NORMS, topC=2, give=lambda norm: torch.tensor([norm])):
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = checks.study.SGD_C([parameter], lr=0.1, topC=topC, decay=decay)
    for norm in steps:
        parameter.grad = give(norm)
        optimizer.step()
    return [gradient.item() for gradient in optimizer.memory(parameter).gradients]


RIGHT_KEPT = {
    "as in the solution": kept,
    "in another order": lambda decay: sorted(kept(decay)),
    "as a tuple of tensors": lambda decay: tuple(map(torch.tensor, kept(decay))),
    "as one tensor": lambda decay: torch.tensor(kept(decay)),
    "in double precision": lambda decay: study.kept(decay),
}
WRONG_KEPT = {
    "decay = 0: the memory is empty": lambda decay: kept(decay, ()),
    "decay = 0: the memory has seen the last gradient": lambda decay: kept(decay, [0.3]),
    "the memory has seen only one gradient": lambda decay: kept(decay, [4.0]),
    "returns nothing": lambda decay: None,
    "a list of numbers, and not float": lambda decay: 4.0,
    "decay = 0: the memory keeps [0.3, 0.1], and yours has [4.0, 3.0]": lambda decay: [4.0, 3.0],
    "decay = 0.5: the memory keeps [2.0, 0.3], and yours has [0.3, 0.1]": lambda decay: kept(0),
    "there are 3 gradients, and the memory has two slots": lambda decay: kept(decay, topC=3),
    "it stopped with NameError": lambda decay: norm,  # noqa: F821
    "torch.tensor([norm])": lambda decay: kept(decay, give=torch.tensor),
    "it stopped with TypeError": lambda decay: kept(decay, give=lambda norm: norm),
}


@pytest.mark.parametrize("how", RIGHT_KEPT)
def test_kept_accepts(how):
    accepts(checks.kept, RIGHT_KEPT[how])


@pytest.mark.parametrize("why", WRONG_KEPT)
def test_kept_rejects(why):
    rejects(checks.kept, WRONG_KEPT[why], why)


def clamped(g, other):
    return g - (g @ other).clamp(max=0) * other / other.norm() ** 2


def in_place(g, other):
    g -= (g @ other) / (other @ other) * other
    return g


RIGHT_WITHOUT = {
    "of the course": study.without_conflict,
    "clamped": clamped,
    "in single precision": lambda g, other: study.without_conflict(g.float(), other.float()),
    "by the library": lambda g, other: PCGrad()(torch.stack([g, other])) - clamped(other, g),
}
WRONG_WITHOUT = {
    "g stayed as it is": lambda g, other: g,
    "these two agree": lambda g, other: g - (g @ other) / (other @ other) * other,
    "Subtract it": lambda g, other: g + (g @ other) / (other @ other) * other,
    "a long other counts too much": lambda g, other: g - (g @ other) * other,
    "the square of other's length": lambda g, other: g - (g @ other) / other.norm() * other,
    "It should be g that changes": lambda g, other: clamped(other, g),
    "changes its arguments": in_place,
    "returns nothing": lambda g, other: None,
    "and not float": lambda g, other: 1.0,
    "it returns the shape ()": lambda g, other: g @ other,
    "the dot product with other should be 0 afterwards, and it is -1": lambda g, other: g / 2,
    "which is one number": lambda g, other: g if g * other > 0 else other,
}


@pytest.mark.parametrize("how", RIGHT_WITHOUT)
def test_without_conflict_accepts(how):
    accepts(checks.without_conflict, RIGHT_WITHOUT[how])


@pytest.mark.parametrize("why", WRONG_WITHOUT)
def test_without_conflict_rejects(why):
    rejects(checks.without_conflict, WRONG_WITHOUT[why], why)


@pytest.mark.parametrize("check", [checks.kept, checks.without_conflict], ids=lambda c: c.name)
def test_hints_lead_step_by_step(check, capsys):
    assert len(check.hints) == 3
    for k in (1, 2, 3):
        check(None, hint=k)
        assert capsys.readouterr().out.startswith(f"Hint {k} of 3: ")
    assert "Hints: add hint=1" in said(check, lambda *_: None)


# ------------------------------------------------------------ what the notebook itself says


def test_the_readers_own_functions():
    """Those of the solutions do what the course's and the library's do."""
    shell = {"norms": list(study.NORMS), "torch": torch, "checks": checks}
    shell["SGD_C"] = study.SGD_C
    for cell in HERE.cells:
        for source in re.findall(r"```python\n(.+?)\n```", cell.source, re.DOTALL):
            exec(source, shell)
    for hundredths in range(0, 101, 5):
        mine = [round(gradient, 6) for gradient in shell["kept"](hundredths / 100)]
        assert mine == study.kept(hundredths / 100)
    a, b = plane([0, 120], lengths=[1, 3])
    both = shell["without_conflict"](a, b) + shell["without_conflict"](b, a)
    torch.testing.assert_close(both, PCGrad()(torch.stack([a, b])), atol=1e-12, rtol=0)


def test_what_the_notebook_says_of_its_numbers():
    """The answers to the predictions, and the table."""
    assert study.moments()[14].left == {2: 3, 1: 5}, "the 0.5 evicts the 4"
    assert study.kept(0) == [0.3, 0.1]
    assert sorted(study.kept(1)) == [3, 4]
    (shown,) = (
        output.data["text/plain"]
        for cell in HERE.cells
        if "rows" in cell.source and cell.cell_type == "code"
        for output in cell.outputs
        if "data" in output
    )
    rows = [[part.strip() for part in line.split("|")] for line in shown.splitlines()[2:]]
    lengths, of_a, of_b = ([float(row[k]) for row in rows] for k in (1, 2, 3))
    assert lengths == sorted(lengths)
    assert of_a[0] < 0 < of_a[1] < of_a[2]
    assert of_b[0] > of_b[1] > of_b[2] > 0


# ---------------------------------------------------------------------------- the machine


def test_requirements_here():
    found = requirements()
    assert set(found.values()) == {"yes"}
    assert {"python>=3.10", "torch>=2.7", "ipywidgets>=7.7"} <= set(found)
    assert not any("jupyterlab" in name or "pytest" in name for name in found)


def test_requirements_elsewhere(monkeypatch):
    def version(name):
        if name == "tqdm":
            raise importlib.metadata.PackageNotFoundError(name)
        return {"torch": "2.6.0", "matplotlib": "99.0rc1"}.get(name, "99")

    monkeypatch.setattr(importlib.metadata, "version", version)
    monkeypatch.setattr(platform, "python_version", lambda: "3.9.1")
    found = requirements()
    assert found["python>=3.10"] == "3.9.1"
    assert found["torch>=2.7"] == "2.6.0"
    assert found["matplotlib>=3.9"] == "yes"
    assert found["tqdm>=4.66"] == "missing"


def test_machine(monkeypatch):
    made = machine.machine()
    assert made.columns == ["needed", "found"]
    assert {found for _, found in made.rows} == {"yes"}
    names = [name for name, _ in made.rows]
    assert names == [*requirements(), *machine.PARTS]
    assert not plt.get_fignums()
    monkeypatch.setattr(machine, "requirements", lambda: {"torch>=2.7": "2.6.0"})
    assert machine.machine().rows[0] == ["torch>=2.7", "2.6.0"]


class LazyVaccine(machine.GroupedGradVac):
    def jac_to_grad(self):
        pass


class Forgetful(torch.optim.SGD):
    def memory(self, parameter):
        return []


class Stiff(machine.Explorer):
    def _redraw(self, change=None):
        pass


def fails(*_, **__):
    raise ZeroDivisionError


#: What is broken in which part, and what the table says of it.
BROKEN = {
    "Adam_C": (Forgetful, "an optimizer's step", "RuntimeError: Forgetful took no step"),
    "Adam_C_eff": (
        lambda p, lr: torch.optim.SGD(p, 0.0),
        "an optimizer's step",
        "RuntimeError: <lambda> took no step",
    ),
    "mtl_backward": (lambda *_, **__: None, "Gradient Vaccine", "Error: "),
    "GroupedGradVac": (LazyVaccine, "Gradient Vaccine", "RuntimeError: no gradient came out"),
    "subplots": (fails, "a figure", "ZeroDivisionError"),
    "Explorer": (Stiff, "an explorer", "RuntimeError: the picture did not follow the slider"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_the_table_names_the_part(name, monkeypatch):
    broken, part, why = BROKEN[name]
    monkeypatch.setattr(machine, name, broken)
    assert why in dict(machine.machine().rows)[part]


def test_the_data_are_tried(monkeypatch):
    monkeypatch.setitem(machine.PARTS, "the data", fails)
    assert machine.tried("the data") == "ZeroDivisionError"
