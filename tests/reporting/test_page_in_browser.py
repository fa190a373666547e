"""The page as a browser sees it: no complaint in its console, no request, nothing wider than a telephone."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from sasa_cli.reporting.report import build_report
from sasa_cli.runs.paths import ExperimentPaths

from .conftest import write_small

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
BROWSER = next((found for name in BROWSERS if (found := shutil.which(name))), None)
SWITCHES = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--disable-quic", "--disable-extensions"),
    # No name is looked up: what the page or the browser asks for is in the log and never leaves the machine.
    "--host-resolver-rules=MAP * ~NOTFOUND",
    *("--enable-logging=stderr", "--v=0", "--allow-file-access-from-files", "--virtual-time-budget=2000"),
)
OF_THE_BROWSER = "not an origin"  # initiator of what the browser asks for by itself, such as the time
# A frame as wide as a telephone or a screen; its script writes down how far the page inside it reaches.
FRAME = """<!doctype html><title>frame</title><iframe id="f" src="{page}" width="{width}" height="800"></iframe>
<p id="reach"></p><script>
document.getElementById("f").addEventListener("load", (event) => {{
  const inside = event.target.contentDocument.documentElement;
  document.getElementById("reach").textContent = `reaches ${{inside.scrollWidth}} of ${{inside.clientWidth}}`;
}});
</script>"""

pytestmark = pytest.mark.skipif(BROWSER is None, reason=f"no browser here: none of {', '.join(BROWSERS)}")


@dataclass
class Visit:
    console: list[str]
    """What the page wrote to the console, errors and warnings among it."""
    requests: list[str]
    """What the page asked of the network."""
    dom: str


def visit(page: Path, folder: Path) -> Visit:
    assert BROWSER is not None
    log = folder / "network.json"
    own = (f"--user-data-dir={folder / 'profile'}", f"--log-net-log={log}", "--dump-dom", page.as_uri())
    done = subprocess.run([BROWSER, *SWITCHES, *own], capture_output=True, text=True, timeout=120, check=True)
    assert "</html>" in done.stdout
    return Visit(re.findall(r":CONSOLE[^\]]*\] (.*)", done.stderr), list(requests_in(log)), done.stdout)


def requests_in(log: Path) -> Iterator[str]:
    """Every URL that the page made the browser ask for."""
    content = json.loads(log.read_text(encoding="utf-8"))
    start = content["constants"]["logEventTypes"]["URL_REQUEST_START_JOB"]
    for event in content["events"]:
        parameters = event.get("params", {})
        if event["type"] == start and "url" in parameters and parameters["initiator"] != OF_THE_BROWSER:
            yield parameters["url"]


def reach(page: Path, width: int, folder: Path) -> tuple[int, int]:
    """How wide the page is, and how wide it may be, in a window of `width` px."""
    frame = folder / "frame.html"
    frame.write_text(FRAME.format(page=page.as_uri(), width=width), encoding="utf-8")
    found = re.search(r"reaches (\d+) of (\d+)", visit(frame, folder).dom)
    assert found is not None
    return int(found[1]), int(found[2])


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    experiment = write_small(ExperimentPaths(tmp_path_factory.mktemp("browser") / "demo"))
    experiment.finish(experiment.runs[0], 81.0, ema=1.0, torch="2.14.0")
    experiment.fail(experiment.runs[-1])
    build_report([experiment.paths.folder], ["html"])
    return experiment.paths.report / "report.html"


def test_the_page_writes_nothing_to_the_console_and_asks_for_nothing(page: Path, tmp_path: Path) -> None:
    found = visit(page, tmp_path)
    assert found.console == []
    assert found.requests == []
    assert "<svg" in found.dom


@pytest.mark.parametrize("width", [390, 1280])
def test_wide_tables_scroll_inside_their_box(page: Path, width: int, tmp_path: Path) -> None:
    wide, room = reach(page, width, tmp_path)
    assert wide <= room
    assert room > width - 40


def test_these_tests_can_fail(page: Path, tmp_path: Path) -> None:
    html = page.read_text(encoding="utf-8")
    broken = tmp_path / "broken.html"
    image = '<img src="https://images.example.invalid/x.png">'
    script = '<script>console.error("oh"); absent();</script>'
    wide = '<table style="width: 2000px"><tr><td>wide</td></tr></table>'
    broken.write_text(html.replace("</main>", f"{image}{script}{wide}</main>"), encoding="utf-8")
    found = visit(broken, tmp_path)
    assert [re.sub(r", source:.*", "", line) for line in found.console] == [
        '"oh"',
        '"Uncaught ReferenceError: absent is not defined"',
    ]
    assert found.requests == ["https://images.example.invalid/x.png"]
    width, room = reach(broken, 390, tmp_path)
    assert width > room
