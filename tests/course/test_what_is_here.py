"""What is here."""

import importlib.metadata
import platform
import re

import matplotlib.pyplot as plt
import nbformat
import pytest
import torch
from checking import accepts, rejects
from test_project import NOTEBOOKS as FILES
from test_project import README

from cgtutor.course import NOTEBOOKS, requirements
from cgtutor.course.what_is_here import checks, figures

TEXTS = {
    path.name: "\n\n".join(
        cell.source
        for cell in nbformat.read(path, as_version=4).cells
        if cell.cell_type == "markdown"
    )
    for path in FILES
}


def test_the_list_is_that_of_the_files():
    assert [f"{notebook.name}.ipynb" for notebook in NOTEBOOKS] == list(TEXTS)
    numbers = [notebook.number for notebook in NOTEBOOKS]
    assert numbers == [f"{k:02d}" for k in range(12)]
    assert all(other in numbers[:k] for k, n in enumerate(NOTEBOOKS) for other in n.after)


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda notebook: notebook.number)
def test_one_question_everywhere(notebook):
    text = TEXTS[f"{notebook.name}.ipynb"]
    assert text.startswith(f"# {notebook.question}\n")
    assert f"**Time:** {notebook.minutes} minutes" in text
    row = f"| [{notebook.number}](notebooks/{notebook.name}.ipynb) | {notebook.question} |"
    assert row in README
    link = f"- [{notebook.number} {notebook.question}]({notebook.name}.ipynb)"
    assert link in TEXTS["00_what_is_here.ipynb"]


def test_course_map():
    figure = figures.course_map()
    (ax,) = figure.axes
    assert len(ax.patches) == 12 + sum(len(notebook.after) for notebook in NOTEBOOKS)
    shown = [text.get_text().replace("\n", " ") for text in ax.texts]
    assert shown[::3] == [notebook.number for notebook in NOTEBOOKS]
    assert shown[1::3] == [notebook.question for notebook in NOTEBOOKS]
    assert shown[2::3] == [f"{notebook.minutes} min" for notebook in NOTEBOOKS]
    assert all(notebook.question in figure.alt for notebook in NOTEBOOKS)
    plt.close(figure)


@pytest.mark.parametrize("name", TEXTS)
def test_links_lead_somewhere(name):
    for target, anchor in re.findall(r"\]\((?!https?://)([^)#]*)(#[^)]*)?\)", TEXTS[name]):
        assert target in TEXTS, target
        if anchor:
            headings = re.findall(r"^#+ (.+)$", TEXTS[target], re.MULTILINE)
            assert anchor[1:] in [heading.replace(" ", "-") for heading in headings]


@pytest.mark.parametrize("name", TEXTS)
def test_leads_on_and_back(name):
    """To the next notebook, by number and title, and to the glossary."""
    (k,) = [k for k, n in enumerate(NOTEBOOKS) if f"{n.name}.ipynb" == name]
    if k < 11:
        following = NOTEBOOKS[k + 1]
        link = f"[{following.number} {following.question}]({following.name}.ipynb)"
        assert TEXTS[name].rstrip().endswith(f"**Next:** {link}")
    if k > 0:
        assert "(00_what_is_here.ipynb#Glossary)" in TEXTS[name]


def test_glossary():
    """Each term once, with a meaning."""
    glossary = TEXTS["00_what_is_here.ipynb"].partition("## Glossary")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (.+?) \| (.+?) \|$", glossary, re.MULTILINE)[2:]
    assert len(rows) > 40
    assert len({term for term, _ in rows}) == len(rows)
    assert all(meaning.endswith(".") for _, meaning in rows)
    for word in ("`topC`", "`decay`", "`kappa`", "priority", "Jacobian", "Gramian", "grouping"):
        assert any(word in term for term, _ in rows), word


@pytest.mark.parametrize("name", TEXTS)
def test_one_word_for_one_thing(name):
    """A memory inserts, rejects and evicts, and priorities decay: the glossary has no others."""
    other = r"fad(?:es?|ed|ing)|refus\w+|accept\w*|turn\w* away|newcomer|anew|giv\w+ back|fed"
    assert re.findall(rf"\b(?:{other})\b", TEXTS[name]) == []


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


NUMBERS = torch.tensor([1.0, 2.0, 3.0])


WRONG = {
    "still empty": None,
    "of type list; torch.tensor": [1.0, 2.0, 3.0],
    "of type float": 1.0,
    "the shape (2,)": torch.ones(2),
    "the shape (3, 1)": NUMBERS[:, None],
    "Write 1.0 in place of 1": torch.tensor([1, 2, 3]),
    "the numbers are [3.0, 2.0, 1.0]": NUMBERS.flip(0),
    "the numbers are [1.0, nan, 3.0]": torch.tensor([1.0, float("nan"), 3.0]),
}


@pytest.mark.parametrize("why", WRONG)
def test_environment_rejects(why):
    rejects(checks.environment, WRONG[why], why)


@pytest.mark.parametrize("numbers", [NUMBERS, NUMBERS.double().requires_grad_()], ids=["32", "64"])
def test_environment_accepts(numbers):
    assert accepts(checks.environment, numbers) == (
        "Right! This machine runs the course: 5 parts tried, all work.\n"
    )
    assert not plt.get_fignums()
    assert numbers.tolist() == [1, 2, 3]


def test_environment_names_the_package(monkeypatch):
    old = {"torch>=2.7": "2.6.0"}
    monkeypatch.setattr(checks, "requirements", lambda: {"tqdm>=4": "yes"} | old)
    why = "needs torch>=2.7, and here it is 2.6.0. Run the set-up"
    rejects(checks.environment, NUMBERS, why)


class LazyVaccine(checks.GroupedGradVac):
    def jac_to_grad(self):
        pass


class Forgetful(torch.optim.SGD):
    def memory(self, parameter):
        return []


def fails(*_, **__):
    raise ZeroDivisionError


#: What is broken in which part, and what the check says of it.
BROKEN = {
    "Adam_C": (Forgetful, "an optimizer's step", "Forgetful has inserted nothing"),
    "Adam_C_eff": (
        lambda p, lr: torch.optim.SGD(p, 0.0),
        "an optimizer's step",
        "<lambda> left the numbers",
    ),
    "mtl_backward": (lambda *_, **__: None, "Gradient Vaccine", "it stopped with"),
    "GroupedGradVac": (LazyVaccine, "Gradient Vaccine", "GroupedGradVac left no gradient."),
    "digits": (fails, "the data", "it stopped with ZeroDivisionError"),
    "lifetimes": (fails, "drawing a figure", "it stopped with ZeroDivisionError"),
    "Explorer": (lambda *_, **__: None, "an explorer", "it stopped with AttributeError"),
    "replay": (
        lambda norms, topC=2, replay=checks.replay: replay(norms, 2),
        "an explorer",
        "the picture stayed the same",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_environment_names_the_part(name, monkeypatch):
    broken, part, why = BROKEN[name]
    monkeypatch.setattr(checks, name, broken)
    rejects(checks.environment, NUMBERS, f"Not yet: {part} does not work here: {why}")
