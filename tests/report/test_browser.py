"""The pages in a real browser, headless Chromium driven by selenium; skipped where one is missing."""

import json
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers import crystals
from helpers.report_run import framed_model, write_stages

from dglframer.report.frames import write_frames
from dglframer.report.report import write_report
from dglframer.structures.periodic_graph import build_graph

SECONDS = 120  # a loaded machine draws slowly
FLAGS = (
    "--headless=new --no-sandbox --disable-dev-shm-usage --hide-scrollbars --window-size=1400,900 "
    "--use-gl=angle --use-angle=swiftshader --enable-unsafe-swiftshader --disable-background-networking"
)
WIDTHS = {"desktop": 1400, "phone": 390}


def missing() -> str | None:
    """Why there is no browser to test with."""
    try:
        import selenium  # noqa: F401
    except ImportError:
        return "no selenium (pip install selenium)"
    if not program("chromium", "chromium-browser", "google-chrome"):
        return "no chromium (apt-get install chromium chromium-driver)"
    return None if program("chromedriver") else "no chromedriver (apt-get install chromium-driver)"


def program(*names: str) -> str | None:
    return next((path for path in map(shutil.which, names) if path), None)


pytestmark = pytest.mark.skipif(missing() is not None, reason=str(missing()))


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    for flag in FLAGS.split():
        options.add_argument(flag)
    options.binary_location = program("chromium", "chromium-browser", "google-chrome")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(program("chromedriver")))
    driver.set_page_load_timeout(SECONDS)
    driver.set_script_timeout(SECONDS)
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def report_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report on two targets, with frames."""
    folder = tmp_path_factory.mktemp("browser") / "run"
    inputs = write_stages(folder, ["energy", "gap"], (0, 1), True, frame="max")
    write_report(inputs, inputs.config.parent / "report.html")
    return inputs.config.parent / "report.html"


@pytest.fixture(scope="module")
def frames_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("frames") / "page.html"
    model = framed_model(crystals.rocksalt())
    write_frames(model, build_graph(crystals.rocksalt(), model.cutoff), "A model.", path)
    return path


def opened(browser: Any, page: Path, width: int = 1400) -> Any:
    """The browser with the page, its logs empty before."""
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    for kind in ("browser", "performance"):
        browser.get_log(kind)
    browser.get(page.as_uri())
    return browser


def wait(browser: Any, script: str) -> Any:
    """What a script returns, once that is true."""
    end = time.monotonic() + SECONDS
    while not (found := browser.execute_script(script)):
        assert time.monotonic() < end, f"after {SECONDS} s still nothing: {script}"
        time.sleep(0.2)
    return found


def scrolled_through(browser: Any) -> None:
    """Let every lazy part start."""
    for y in range(0, browser.execute_script("return document.body.scrollHeight"), 700):
        browser.execute_script(f"window.scrollTo(0, {y})")
        time.sleep(0.1)


def requests(browser: Any) -> list[str]:
    """The addresses that the page asked for, besides itself and what it made."""
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    sent = [one["params"] for one in events if one["method"] == "Network.requestWillBeSent"]
    urls = [one["request"]["url"] for one in sent]
    return [url for url in urls if not url.startswith(("data:", "blob:", "file:"))]


def problems(browser: Any) -> list[str]:
    """Errors and warnings of the console; that a GPU is drawn by the processor is none."""
    entries = [entry["message"] for entry in browser.get_log("browser")]
    return [text for text in entries if "GPU stall" not in text and "WebGL" not in text]


COLOURS = """
const canvas = document.querySelector(arguments[0] + " canvas");
const copy = document.createElement("canvas");
[copy.width, copy.height] = [canvas.width, canvas.height];
const brush = copy.getContext("2d");
brush.drawImage(canvas, 0, 0);
const pixels = brush.getImageData(0, 0, copy.width, copy.height).data;
const found = new Set();
for (let k = 0; k < pixels.length; k += 4) found.add(`${pixels[k]},${pixels[k + 1]},${pixels[k + 2]}`);
return found.size;
"""


def colours(browser: Any, selector: str) -> int:
    """How many colours a canvas shows; read in the frame in which it is drawn."""
    return int(browser.execute_script(COLOURS, selector))


def drawn(browser: Any, count: Callable[[], int]) -> None:
    end = time.monotonic() + SECONDS
    while count() < 20:
        assert time.monotonic() < end, "the canvas is empty"
        time.sleep(0.5)


def test_the_report_shows_its_crystals(browser: Any, report_page: Path) -> None:
    """Hover shows the id, a click the structure; no error, no request."""
    opened(browser, report_page)
    browser.execute_script("document.getElementById('figure-parity1').scrollIntoView()")
    wait(browser, "return document.querySelectorAll('#figure-parity1 .plot .point').length > 10")
    first = "const plot = document.querySelector('#figure-parity1 .plot'); "
    shown = browser.execute_script(
        first + "const k = plot.data.findIndex((one) => one.customdata && one.customdata.length);"
        "Plotly.Fx.hover(plot, [{curveNumber: k, pointNumber: 0}]); return plot.data[k].customdata[0];"
    )
    text = wait(browser, "return document.querySelector('#figure-parity1 .hoverlayer').textContent")
    assert shown[1] in text and shown[2] in text and "prediction" in text
    browser.execute_script(
        first + "plot.emit('plotly_click', {points: [{customdata: arguments[0]}]})", shown
    )
    wait(browser, "return !!document.querySelector('#crystal-panel .view canvas')")
    assert browser.execute_script(
        "return document.querySelector('#crystal-panel h3').textContent"
    ).startswith(shown[1])
    drawn(browser, lambda: colours(browser, "#crystal-panel .view"))
    scrolled_through(browser)
    wait(browser, "return document.querySelectorAll('.worst .picture img').length > 0")
    assert problems(browser) == [] and requests(browser) == []


def test_a_crystal_is_drawn_alike_after_any_other(browser: Any, report_page: Path) -> None:
    """One viewer draws all pictures; none is turned on from the one before it, nothing is cut off."""
    opened(browser, report_page)
    views, share = browser.execute_script(
        "const box = document.createElement('div');"
        "box.style.cssText = 'position: relative; width: 300px; height: 180px';"
        "document.body.append(box);"
        "const one = {s: ['K'], l: [4, 0, 0, 0, 12, 0, 0, 0, 4], f: [0, 0, 0]};"
        "const other = {s: ['H'], l: null, f: [0, 0, 0]};"
        "const camera = crystal.viewer(box);"
        "const views = [one, other, one].map((s) => { crystal.draw(camera, s); return camera.getView(); });"
        "const edge = Math.max(...crystal.sites(one).map(([, [x, y, z]]) => {"
        "  const p = camera.modelToScreen({x, y, z}), at = box.getBoundingClientRect();"
        "  return Math.abs(p.y - window.scrollY - at.top - 90) / 90; }));"
        "return [views, edge];"
    )
    assert views[0] == pytest.approx(views[2], abs=1e-9)
    assert 0.3 < share < 0.9  # the centre of the outermost atom: room for its radius


def test_filters_leave_the_crystals_that_were_asked_for(browser: Any, report_page: Path) -> None:
    opened(browser, report_page)
    wait(browser, "return document.querySelectorAll('#figure-parity1 .plot .point').length > 10")
    browser.execute_script(
        "const list = document.querySelector('#filters select'); list.value = 'Cu';"
        "list.dispatchEvent(new Event('change'));"
    )
    names = wait(
        browser,
        "return document.querySelector('#figure-parity1 .plot').data.filter((one) => one.customdata)"
        ".flatMap((one) => one.customdata.map((row) => row[2]))",
    )
    assert set(names) == {"Cu"}


@pytest.mark.parametrize("width", WIDTHS.values(), ids=WIDTHS.keys())
def test_no_page_is_wider_than_its_window(
    browser: Any, report_page: Path, frames_page: Path, width: int
) -> None:
    for page in (report_page, frames_page):
        opened(browser, page, width)
        scrolled_through(browser)
        assert browser.execute_script("return document.documentElement.scrollWidth") <= width


def test_the_frames_are_drawn(browser: Any, frames_page: Path) -> None:
    """Another head or frame draws other axes; no error, no request."""
    opened(browser, frames_page)
    wait(browser, "return !!document.querySelector('#frames-view .view canvas')")
    drawn(browser, lambda: colours(browser, "#frames-view .view"))
    before = browser.execute_script("return document.querySelector('.beside').textContent")
    assert "tied frames" in before
    browser.execute_script(
        "const list = [...document.querySelectorAll('#frames-view select')].at(-1); list.value = '1';"
        "list.dispatchEvent(new Event('change'));"
    )
    one = wait(browser, "return document.querySelector('.beside').textContent")
    assert one != before and one.count("100.0 %") == 3
    assert problems(browser) == [] and requests(browser) == []


def test_commands_can_be_copied(browser: Any, report_page: Path) -> None:
    opened(browser, report_page)
    assert wait(browser, "return document.querySelectorAll('.copyable .copy').length") == wait(
        browser, "return document.querySelectorAll('pre').length"
    )


def test_without_scripts_the_page_can_be_read(browser: Any, report_page: Path) -> None:
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        opened(browser, report_page)
        from selenium.webdriver.common.by import By

        assert browser.find_element(By.CSS_SELECTOR, "#figure-parity1 svg").is_displayed()
        assert browser.find_element(By.CSS_SELECTOR, "#figure-frame svg").is_displayed()
        assert not browser.find_element(By.ID, "filters").is_displayed()
    finally:
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
