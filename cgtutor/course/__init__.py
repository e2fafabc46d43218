"""The notebooks of the course: their questions, their order, and what they need."""

import importlib.metadata
import platform
from itertools import zip_longest
from typing import NamedTuple

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet


class Notebook(NamedTuple):
    """A notebook of the course."""

    name: str  #: of its file, without the ending; starts with its number
    question: str  #: its title
    minutes: int  #: to read and try
    part: str  #: "optimizers", "tasks" or "both"
    after: tuple[str, ...]  #: the numbers of those that come right before it

    @property
    def number(self) -> str:
        """Two digits."""
        return self.name[:2]

    @property
    def folder(self) -> str:
        """The folder beside this file with all that only this notebook uses."""
        return self.name[3:]


NOTEBOOKS = (
    Notebook("00_what_is_here", "What is here, and does my machine run it?", 15, "both", ()),
    Notebook(
        "01_first_steps", "What changes when I swap Adam for Adam_C?", 35, "optimizers", ("00",)
    ),
    Notebook(
        "02_what_an_optimizer_remembers",
        "What does an optimizer remember?",
        35,
        "optimizers",
        ("01",),
    ),
    Notebook(
        "03_which_gradients_to_keep", "Which gradients deserve keeping?", 35, "optimizers", ("02",)
    ),
    Notebook(
        "04_how_old_and_new_combine",
        "How do old and new combine?",
        35,
        "optimizers",
        ("03",),
    ),
    Notebook("05_does_it_help", "Does it help on toy classification?", 35, "optimizers", ("04",)),
    Notebook(
        "06_how_to_choose",
        "When does it help, and how do I choose topC and decay?",
        35,
        "optimizers",
        ("05",),
    ),
    Notebook(
        "07_from_a_heap_to_a_gpu",
        "How does the memory get from a heap to a GPU?",
        35,
        "optimizers",
        ("06",),
    ),
    Notebook("08_when_tasks_disagree", "When do tasks disagree?", 40, "tasks", ("00",)),
    Notebook("09_what_the_vaccine_changes", "What does the vaccine change?", 45, "tasks", ("08",)),
    Notebook("10_which_grouping", "Which grouping, and when?", 45, "tasks", ("09",)),
    Notebook("11_your_own_project", "How do I use it in my own project?", 50, "both", ("07", "10")),
)


def markdown_map() -> str:
    """The map of the course: the two paths side by side, each notebook with link and minutes."""

    def entry(notebook: Notebook) -> str:
        link = f"[{notebook.number} {notebook.question}]({notebook.name}.ipynb)"
        return f"{link} · {notebook.minutes} min"

    paths, headings = [], []
    for part, about in (("optimizers", "an optimizer with a memory"), ("tasks", "several tasks")):
        on_it = [notebook for notebook in NOTEBOOKS if notebook.part == part]
        paths.append([entry(notebook) for notebook in on_it])
        headings.append(f"{about} · {sum(notebook.minutes for notebook in on_it) / 60:.1f} hours")
    rows = [headings, [":--", ":--"], *zip_longest(*paths, fillvalue="")]
    first, *last = [entry(notebook) for notebook in NOTEBOOKS if notebook.part == "both"]
    return "\n".join(
        [
            f"**Start here:** {first}",
            "",
            *(f"| {' | '.join(row)} |" for row in rows),
            "",
            f"**Both paths end here:** {'; '.join(last)}",
        ]
    )


def requirements() -> dict[str, str]:
    """What the notebooks need, and "yes", "missing" or the version that there is instead.

    That is what the package's metadata names, but for JupyterLab: other programs run them too.
    """
    metadata = importlib.metadata.metadata("cgtutor")
    python = SpecifierSet(metadata["Requires-Python"])
    version = platform.python_version()
    found = {f"python{python}": "yes" if python.contains(version) else version}
    for text in metadata.get_all("Requires-Dist") or []:
        requirement = Requirement(text)
        if requirement.name == "jupyterlab":
            continue
        if requirement.marker is None or requirement.marker.evaluate({"extra": "notebooks"}):
            name = f"{requirement.name}{requirement.specifier}"
            try:
                version = importlib.metadata.version(requirement.name)
            except importlib.metadata.PackageNotFoundError:
                found[name] = "missing"
                continue
            suits = requirement.specifier.contains(version, prereleases=True)
            found[name] = "yes" if suits else version
    return found
