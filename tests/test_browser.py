"""A reader's browser: notebooks with an explorer run in JupyterLab, and obey hand and keyboard.

Two of them, since each takes a minute: those that run the fastest, with players, predictions,
sliders and a menu. ``BROWSER_NOTEBOOKS=all`` tries every one, as the weekly workflow does. Skipped where
there is no Chromium (Debian's package is called chromium).
"""

import json
import os
import shutil
import subprocess
import sys
import time

import pytest
from playwright.sync_api import sync_playwright
from test_project import NOTEBOOKS

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")

EXPLORERS = [path for path in NOTEBOOKS if '"Explorer(' in path.read_text(encoding="utf-8")]
OPENED = [
    path
    for path in EXPLORERS
    if path.stem[:2] in ("00", "09") or os.environ.get("BROWSER_NOTEBOOKS") == "all"
]

SETTINGS = {
    "notebook-extension/tracker": {"windowingMode": "none"},  # also cells out of sight are there
    "apputils-extension/notification": {"fetchNews": "false"},  # no question about news
}
#: JupyterLab says "ready" piece by piece; running cells earlier loses some of them.
READY = """async () => {
    const panel = window.jupyterapp.shell.currentWidget;
    await panel.context.ready;
    await panel.sessionContext.ready;
    await panel.sessionContext.session.kernel.info;
}"""
RUN_ALL = "() => window.jupyterapp.commands.execute('notebook:run-all-cells')"

IDLE = """() => {
    const { kernel } = window.jupyterapp.shell.currentWidget.sessionContext.session;
    return kernel.status === 'idle';
}"""


def wait_for(page, promise, seconds):
    """What ``evaluate`` does, but not for ever."""
    page.evaluate(f"() => {{ window.kept = false; ({promise})().then(() => window.kept = true) }}")
    page.wait_for_function("() => window.kept", timeout=1000 * seconds)


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """The address of a JupyterLab of its own, on copies of the notebooks."""
    home = tmp_path_factory.mktemp("lab")
    (home / "notebooks").mkdir()
    for path in OPENED:
        shutil.copy(path, home / "notebooks")
    for plugin, setting in SETTINGS.items():
        file = home / "settings" / "@jupyterlab" / f"{plugin}.jupyterlab-settings"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(setting))
    folders = {
        "JUPYTER_CONFIG_DIR": "config",
        "JUPYTER_RUNTIME_DIR": "runtime",
        "JUPYTERLAB_SETTINGS_DIR": "settings",
        "JUPYTERLAB_WORKSPACES_DIR": "workspaces",
        "IPYTHONDIR": "ipython",
    }
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root"]
    command += ["--ip=127.0.0.1", "--port=0", f"--ServerApp.root_dir={home / 'notebooks'}"]
    command += [
        "--LabApp.expose_app_in_browser=True",
    ]
    with (home / "log").open("w") as log:
        server = subprocess.Popen(
            command,
            stdout=log,
            stderr=log,
            env=os.environ | {name: str(home / folder) for name, folder in folders.items()},
        )
    try:
        for _ in range(600):
            found = list((home / "runtime").glob("jpserver-*.json"))
            if found or server.poll() is not None:
                break
            time.sleep(0.1)
        assert found, (home / "log").read_text()
        yield json.loads(found[0].read_text())
    finally:
        server.terminate()
        server.wait(30)


@pytest.fixture(scope="module")
def chromium():
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        yield browser
        browser.close()


@pytest.fixture(params=OPENED, ids=lambda path: path.stem)
def page(request, lab, chromium):
    """A notebook, opened and run from top to bottom."""
    with chromium.new_page(viewport={"width": 1280, "height": 1100}) as page:
        page.set_default_timeout(120_000)
        name = request.param.stem  # each in a workspace of its own, which starts empty
        page.goto(f"{lab['url']}lab/workspaces/{name}/tree/{name}.ipynb?token={lab['token']}")
        page.wait_for_function("() => window.jupyterapp?.shell?.currentWidget?.sessionContext")
        wait_for(page, READY, seconds=120)
        wait_for(page, RUN_ALL, seconds=300)
        yield page
        page.evaluate("() => window.jupyterapp.shell.currentWidget.sessionContext.shutdown()")


def test_which_notebooks_are_opened():
    assert {path.stem[:2] for path in OPENED} >= {"00", "09"}
    assert len(EXPLORERS) >= 10


#: Counts the different pictures that an explorer shows, from now on.
COUNT = """(picture) => {
    window.seen = [];
    new MutationObserver(() => {
        const source = picture.querySelector("img")?.src;
        if (source && source !== window.seen.at(-1)) window.seen.push(source);
    }).observe(picture, { subtree: true, childList: true, attributes: true });
}"""


def test_a_notebook_is_used(page, tmp_path):
    page.set_default_timeout(20_000)
    for kind in ("stderr", "error"):
        assert page.locator(f"[data-mime-type='application/vnd.jupyter.{kind}']").count() == 0
    explorer = page.locator(".widget-vbox", has=page.locator("img")).first
    explorer.scroll_into_view_if_needed()
    picture = explorer.locator("img")
    slider = explorer.get_by_role("slider").first

    before = picture.get_attribute("src")
    for key in ("ArrowRight", "ArrowRight", "ArrowLeft"):
        slider.press(key)
    page.wait_for_function(
        "([image, before]) => image.src !== before", arg=[picture.element_handle(), before]
    )
    page.wait_for_function(IDLE)

    # By dragging: pictures come while the hand still moves, and the last value is drawn.
    picture.locator("xpath=..").evaluate(COUNT)
    handle, track = slider.bounding_box(), explorer.locator(".noUi-base").first.bounding_box()
    x, y = handle["x"] + handle["width"] / 2, handle["y"] + handle["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    started, step = time.monotonic(), track["width"] / 60
    towards = 1 if x < track["x"] + track["width"] / 2 else -1
    while time.monotonic() - started < 2:
        x += towards * step
        if not track["x"] < x < track["x"] + track["width"]:
            towards, x = -towards, x - 2 * towards * step
        page.mouse.move(x, y)
        page.wait_for_timeout(20)
    while_dragging = page.evaluate("() => window.seen.length")
    page.mouse.up()
    print(f"{while_dragging / (time.monotonic() - started):.1f} pictures a second while dragging")
    assert while_dragging > 3
    page.wait_for_function(IDLE)
    page.wait_for_timeout(500)
    last = picture.get_attribute("src")
    slider.press("ArrowRight")
    page.wait_for_timeout(500)
    slider.press("ArrowLeft")
    page.wait_for_function(
        "([image, last]) => image.src === last", arg=[picture.element_handle(), last]
    )
    page.screenshot(path=tmp_path / "explorer.png")
    assert (tmp_path / "explorer.png").stat().st_size > 20_000

    notebook = page.locator(".jp-Notebook")
    pictures = notebook.locator(".jp-RenderedImage")
    assert pictures.count() > 1
    assert notebook.locator("summary", has_text="In words").count() >= pictures.count()
    without = notebook.locator("img:not([alt]):not(.jp-RenderedImage img)")
    assert without.count() == 0, without.first.evaluate("e => e.outerHTML.slice(0, 200)")
    for player in notebook.locator("figure[id^=player]").all():
        player.get_by_title("one step on").click()
        page.wait_for_function("(it) => it.dataset.drawn === '1'", arg=player.element_handle())

    answer = notebook.locator(".jp-MarkdownOutput details, .jp-RenderedMarkdown details").first
    assert answer.get_attribute("open") is None
    answer.locator("summary").press("Enter")
    assert answer.get_attribute("open") is not None
