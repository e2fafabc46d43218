"""The README, the pins and the Binder files say the same thing, and it is true."""

import importlib.metadata
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

import cgtutor

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
METADATA = importlib.metadata.metadata("cgtutor")
REPOSITORY = dict(u.split(", ") for u in METADATA.get_all("Project-URL"))["Repository"]
SLUG = REPOSITORY.removeprefix("https://github.com/")
NOTEBOOKS = sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))  # the glossary has no number
IGNORED = {
    ".git",
    ".venv",
    "__pycache__",
    ".ruff_cache",
    ".mypy_cache",
    ".pytest_cache",
    ".hypothesis",
}


def texts():
    """Every text file of the project and what it says."""
    for path in sorted(ROOT.rglob("*")):
        if path.is_file() and not IGNORED & set(path.parts) and path.suffix not in (".npz", ".png"):
            try:
                yield path.relative_to(ROOT), path.read_text()
            except UnicodeDecodeError:  # coverage's own data, for one
                continue


def test_one_address_everywhere():
    """Whatever names the repository names the one of pyproject.toml."""
    address = re.compile(
        r"(?:github\.com/|mybinder\.org/v2/gh/|research\.google\.com/github/)([\w.-]+/cgtutor)\b"
    )
    seen = {}
    for path, text in texts():
        for slug in address.findall(text):
            seen.setdefault(slug, set()).add(str(path))
    assert set(seen) == {SLUG}, seen
    assert {"README.md", "CITATION.cff", "notebooks/01_first_steps.ipynb"} <= seen[SLUG]


@pytest.mark.parametrize("page", ["README.md", *[f"notebooks/{n.name}" for n in NOTEBOOKS]])
def test_badges(page):
    text = (ROOT / page).read_text()
    name = "00_what_is_here.ipynb" if page == "README.md" else Path(page).name
    colab = f"https://colab.research.google.com/github/{SLUG}/blob/main/notebooks/{name}"
    assert f"({colab})" in text
    assert f"(https://mybinder.org/v2/gh/{SLUG}/main?labpath=notebooks%2F{name})" in text


def test_readme_has_the_two_commands():
    commands = re.findall(r"```bash\n(.+?)\n```", README, re.DOTALL)
    assert len(commands) == 2
    course, tests = commands
    for command in commands:
        assert "\n" not in command
        assert command.startswith("python3 -m venv .venv && .venv/bin/pip install -c ")
    assert course.endswith("jupyter lab --allow-root notebooks/00_what_is_here.ipynb")
    assert tests.endswith(".venv/bin/pytest -n auto")


def test_readme_examples_run():
    optimizer, vaccine = re.findall(r"```python\n(.+?)\n```", README, re.DOTALL)
    names = {}
    exec(optimizer, names)
    assert len([line for line in optimizer.splitlines() if line]) == 6
    assert names["optimizer"].memory(names["model"].weight).inserted == 1
    names = {}
    exec(vaccine, names)
    assert len([line for line in vaccine.splitlines() if line]) == 10
    assert names["vaccine"].report.gramian.shape == (1, 2, 2)
    assert all(p.grad is not None for net in names["heads"] for p in net.parameters())


def test_readme_lists_every_notebook_and_link_target():
    for notebook in NOTEBOOKS:
        assert f"(notebooks/{notebook.name})" in README
    for target in re.findall(r"\]\((?!https?://|#)([^)]+)\)", README):
        assert (ROOT / target).exists(), target


def test_versions_agree():
    assert METADATA["Version"] == cgtutor.__version__
    assert f"\n## {cgtutor.__version__} " in (ROOT / "CHANGELOG.md").read_text()
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == cgtutor.__version__
    assert citation["repository-code"] == REPOSITORY


def test_importing_cgtutor_needs_torch_alone():
    """Nothing of Jupyter, scikit-learn or matplotlib, which only the notebooks' extra brings."""
    code = (
        "import sys, cgtutor, cgtutor.optim_eff, cgtutor.streaming;"
        "print(*{m.partition('.')[0] for m in sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "torch" in loaded
    assert not loaded & {
        "IPython",
        "ipywidgets",
        "jupyter_core",
        "matplotlib",
        "sklearn",
        "nbformat",
        "torchjd",
    }
    runtime = [r for r in METADATA.get_all("Requires-Dist") if "extra ==" not in r]
    assert runtime == ["numpy>=1.26", "torch>=2.7"]


def pins():
    lines = (ROOT / "binder" / "constraints.txt").read_text().splitlines()
    return [Requirement(line) for line in lines]


def test_pins():
    """torch first; every requirement pinned, to a version that pyproject.toml admits."""
    assert str(pins()[0]).startswith("torch==")
    pinned = {}
    for pin in pins():
        (specifier,) = pin.specifier
        assert specifier.operator == "=="
        pinned.setdefault(pin.name, []).append(specifier.version)
    for text in METADATA.get_all("Requires-Dist") + PYPROJECT["dependency-groups"]["lint"]:
        wanted = Requirement(text)
        if wanted.name != "cgtutor":
            assert wanted.name in pinned, wanted.name
            assert all(wanted.specifier.contains(v) for v in pinned[wanted.name]), wanted


def test_only_binder_names_torchs_cpu_index():
    index = "download." + "pytorch.org"
    assert [str(path) for path, text in texts() if index in text] == ["binder/requirements.txt"]


@pytest.mark.skipif(sys.platform == "win32", reason="Binder runs Linux")
def test_binder_build():
    """What Binder would do, read from the build file that repo2docker prints."""
    command = [sys.executable, "-m", "repo2docker", "--no-build", "--debug", str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    steps = done.stdout
    copied = steps.index("COPY --chown=0:0 src/ ${REPO_DIR}/")
    installed = steps.index('pip install --no-cache-dir -r "binder/requirements.txt"')
    tried = steps.index("RUN ./binder/postBuild")
    assert copied < installed < tried, "-e . and -c need the whole repository to be there"
    assert "python=3.11" in done.stderr or "py-3.11" in steps or "2epy-2d3-2e11" in steps
    assert 'ENV R2D_ENTRYPOINT="${REPO_DIR}/binder/start"' in steps


@pytest.mark.skipif(sys.platform == "win32", reason="Binder runs Linux")
def test_binder_files():
    lines = (ROOT / "binder" / "requirements.txt").read_text().splitlines()
    assert [line for line in lines if not line.startswith("#")][1:] == [
        "-c constraints.txt",
        "-e .[notebooks]",
    ]
    for name in ("postBuild", "start", "pin"):
        path = ROOT / "binder" / name
        assert path.stat().st_mode & 0o111, f"{name} must be executable"
        subprocess.run(["bash", "-n", str(path)], check=True)
    here = {"PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])}
    subprocess.run([str(ROOT / "binder" / "postBuild")], env=os.environ | here, check=True)
    echo = "import os; print(os.environ['OMP_NUM_THREADS'])"
    started = subprocess.run(
        [str(ROOT / "binder" / "start"), sys.executable, "-c", echo],
        capture_output=True,
        text=True,
        check=True,
    )
    assert started.stdout.strip() == "1"


def test_users_of_the_tests_install_no_linters():
    extras = PYPROJECT["project"]["optional-dependencies"].values()
    installed = {Requirement(text).name for extra in extras for text in extra}
    linters = {Requirement(text).name for text in PYPROJECT["dependency-groups"]["lint"]}
    assert linters == {"mypy", "pre-commit", "ruff"}
    assert not installed & linters


def steps(job):
    return [step["run"] for step in job["steps"] if "run" in step]


def test_workflows_run_our_own_commands():
    _, tests = re.findall(r"```bash\n(.+?)\n```", README)
    jobs = yaml.safe_load((ROOT / ".github/workflows/test.yml").read_text())["jobs"]
    assert steps(jobs["pinned"]) == ["bash .ci/run"]
    assert jobs["pinned"]["needs"] == "lint", "what takes a minute comes first"
    mac, windows = (steps(jobs[name])[-1] for name in ("macos", "windows"))
    assert mac.startswith(tests)
    assert windows == mac.replace("python3", "python").replace(".venv/bin/", ".venv\\Scripts\\")
    weekly = yaml.safe_load((ROOT / ".github/workflows/weekly.yml").read_text())["jobs"]
    assert set(weekly) == {"browser", "newest", "oldest"}
    assert weekly["browser"]["env"] == {"BROWSER_NOTEBOOKS": "all", "SOLVED_NOTEBOOKS": "all"}
    if sys.platform != "win32":
        subprocess.run(["bash", "-n", str(ROOT / ".ci/run")], check=True)


def test_files_for_github_can_be_read():
    files = [*(ROOT / ".github").rglob("*.yml"), ROOT / ".pre-commit-config.yaml"]
    assert {f.name for f in files} >= {"dependabot.yml", "test.yml", "weekly.yml", "config.yml"}
    for file in files:
        assert yaml.safe_load(file.read_text()), file
    for form in (ROOT / ".github/ISSUE_TEMPLATE").glob("*.yml"):
        if form.name != "config.yml":
            assert {"name", "description", "body"} <= set(yaml.safe_load(form.read_text())), form


def test_hooks_are_pinned_to_the_versions_of_the_constraints():
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    revisions = {h["repo"].rpartition("/")[2]: h["rev"] for h in hooks if h["repo"] != "local"}
    (ruff,) = [str(pin.specifier) for pin in pins() if pin.name == "ruff"]
    assert revisions["ruff-pre-commit"] == ruff.replace("==", "v")
    assert all(re.fullmatch(r"v\d+\.\d+\.\d+", rev) for rev in revisions.values())
