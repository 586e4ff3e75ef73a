"""The page in a headless Chromium: offline, at two widths, light and dark, with and without script.

Run with ``pytest -m browser``; needs the extra ``browser`` and Debian's `chromium-headless-shell`.
"""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import pytest

from hpo.report.page import html
from tests.test_hpo import sample_run
from tests.test_hpo.test_report_page import (
    HOSTILE,
    RECORDED,
    hostile_run,
    words_of,
)

pytestmark = [pytest.mark.browser, pytest.mark.slow]
FOUND = next(
    filter(None, map(shutil.which, ("chromium-headless-shell", "chromium"))), None
)

# The ratio of luminance between a text and what lies behind it (WCAG 2.2, 1.4.3).
CONTRAST = """() => {
  const light = ([r, g, b]) => {
    const [x, y, z] = [r, g, b].map((v) => {
      v /= 255;
      return v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * x + 0.7152 * y + 0.0722 * z;
  };
  const numbers = (text) => text.match(/[\\d.]+/g).map(Number);
  const behind = (element) => {
    for (let e = element; e; e = e.parentElement) {
      const found = numbers(getComputedStyle(e).backgroundColor);
      if (found.length < 4 || found[3] > 0) return found;
    }
    return [255, 255, 255];
  };
  const bad = [];
  for (const element of document.querySelectorAll("body *")) {
    const own = [...element.childNodes].some((n) => n.nodeType === 3 && n.data.trim());
    if (!own || !element.getClientRects().length) continue;
    const style = getComputedStyle(element);
    const colour = element.ownerSVGElement ? style.fill : style.color;
    const a = light(numbers(colour)), b = light(behind(element));
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) bad.push([element.tagName, element.textContent.slice(0, 40), ratio]);
  }
  return bad;
}"""


@pytest.fixture(scope="module")
def chromium():
    if FOUND is None:
        pytest.skip("no chromium-headless-shell and no chromium is installed")
    sync_api = pytest.importorskip(
        "playwright.sync_api", reason="needs the extra `browser`"
    )
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=FOUND, args=["--no-sandbox"]
        )
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The page of the recorded run, as a file."""
    place = tmp_path_factory.mktemp("results") / "recorded" / "20260101-120000-0123abcd"
    shutil.copytree(RECORDED, place)
    path = place / "index.html"
    path.write_bytes(words_of(place)["index.html"])
    return path


@pytest.fixture(scope="module")
def folded(written):
    """The same page, all but five of its sixteen trials folded."""
    path = written.with_name("folded.html")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(html, "_OPEN", 5)
        path.write_bytes(words_of(written.parent)["index.html"])
    return path


class Opened:
    """A page, with what it asked for and what the console said."""

    def __init__(self, chromium, path: Path, **options) -> None:
        options = {"viewport": {"width": 1280, "height": 800}, **options}
        self.context = chromium.new_context(offline=True, **options)
        self.page = self.context.new_page()
        self.requests, self.console = [], []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("console", lambda message: self.console.append(message.text))
        self.page.on("pageerror", lambda error: self.console.append(str(error)))
        begin = time.perf_counter()
        self.page.goto(path.as_uri())
        self.seconds = time.perf_counter() - begin

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.context.close()


@pytest.mark.parametrize("script", [True, False])
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_it_reads_well_everywhere(width, scheme, script, chromium, written):
    size = {"width": width, "height": 800}
    options = {"viewport": size, "color_scheme": scheme, "java_script_enabled": script}
    with Opened(chromium, written, **options) as opened:
        page = opened.page
        assert opened.requests == [written.as_uri()]
        assert opened.console == []
        first = page.locator("p.first").first.bounding_box()
        assert first["y"] + first["height"] < 400, (
            "the verdict is not on the first screen"
        )
        if not script:  # nothing can be asked of the page then
            assert page.locator("#leaderboard button").count() == 0
            assert page.locator("#leaderboard tbody tr").count() == 16
            return
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.evaluate(CONTRAST) == []
        dark = page.evaluate(
            "getComputedStyle(document.documentElement).backgroundColor"
        )
        assert (dark == "rgb(21, 23, 27)") is (scheme == "dark")


def test_sorting_filtering_and_pointing(chromium, written):
    with Opened(chromium, written) as opened:
        page = opened.page
        rows = page.locator("#leaderboard tbody tr")

        def column(number):
            return page.evaluate(
                "n => [...document.querySelectorAll('#leaderboard tbody tr')]"
                ".map(r => r.cells[n].textContent)",
                number,
            )

        before = column(1)
        page.get_by_role("button", name="rmse").click()
        values = [float(v) for v in column(3) if v != "–"]
        assert values == sorted(values) and column(3)[-4:] == ["–"] * 4
        page.get_by_role("button", name="rmse").click()
        values = [float(v) for v in column(3) if v != "–"]
        assert values == sorted(values, reverse=True) and column(3)[-1] == "–"
        page.get_by_role("button", name="rank").click()
        assert column(1)[:7] == before[:7]
        page.get_by_role("searchbox").fill("crnn stopped")
        assert rows.locator("visible=true").count() == 3
        page.get_by_role("searchbox").fill("")
        trial = page.locator("tr[data-trial='10']")
        curve = page.locator(".curve-10")
        assert curve.count() == 1 and "lit" not in curve.get_attribute("class")
        trial.hover()
        assert "lit" in curve.get_attribute("class")
        page.locator("h1").hover()
        assert "lit" not in curve.get_attribute("class")
        assert opened.console == []


def test_folded_trials_join_the_others_when_all_are_asked_for(chromium, folded):
    shown = "#leaderboard tbody tr"
    for asked in ("sort", "filter"):
        with Opened(chromium, folded) as opened:
            page = opened.page
            rest = page.locator("details.rest")
            assert page.locator(shown).count() == 5
            assert rest.locator("summary").inner_text() == "The other 11 trials"
            assert not rest.locator("tbody tr").first.is_visible()
            if asked == "sort":
                page.get_by_role("button", name="trial").click()
                trials = [int(t) for t in page.locator(f"{shown} td:nth-child(2)")
                          .all_inner_texts()]  # fmt: skip
                assert trials == list(range(1, 17))
            else:
                page.get_by_role("searchbox").fill("crnn stopped")
                assert page.locator(shown).locator("visible=true").count() == 3
            assert rest.count() == 0 and page.locator(shown).count() == 16
            assert opened.console == []
    with Opened(chromium, folded, java_script_enabled=False) as opened:
        opened.page.locator("details.rest summary").click()
        assert opened.page.locator("#others tbody tr").first.is_visible()


def test_pictures_out_of_sight_are_drawn_when_they_are_reached_and_on_paper(
    chromium, written
):
    drawn = """() => [...document.querySelectorAll("figure")].map((f) =>
      f.querySelector("svg path").checkVisibility({contentVisibilityAuto: true}))"""
    with Opened(chromium, written) as opened:
        page = opened.page
        assert not page.evaluate(drawn)[-1]
        page.locator("figure").last.scroll_into_view_if_needed()
        page.evaluate("new Promise((done) => requestAnimationFrame(() =>"
                      " requestAnimationFrame(done)))")  # fmt: skip
        assert page.evaluate(drawn)[-1]
    with Opened(chromium, written) as opened:
        opened.page.emulate_media(media="print")
        assert all(opened.page.evaluate(drawn))


def test_arrows_go_along_the_rows_and_light_their_curves(chromium, written):
    focused = "document.activeElement.dataset.trial"
    with Opened(chromium, written) as opened:
        page = opened.page
        trials = page.eval_on_selector_all(
            "#leaderboard tbody tr", "rows => rows.map((row) => row.dataset.trial)"
        )
        page.locator("#leaderboard button").last.focus()
        page.keyboard.press("Tab")
        assert page.evaluate(focused) == trials[0]
        page.keyboard.press("ArrowDown")
        assert page.evaluate(focused) == trials[1]
        curve = page.locator(f".curve-{trials[1]}")
        assert "lit" in curve.first.get_attribute("class")
        page.keyboard.press("ArrowUp")
        page.keyboard.press("ArrowUp")  # there is none above
        assert page.evaluate(focused) == trials[0]
        assert page.locator("tr[tabindex]").count() == 1
        page.get_by_role("searchbox").fill("crnn stopped")
        first = page.locator("#leaderboard tbody tr").locator("visible=true").first
        assert first.get_attribute("tabindex") == "0"
        assert page.locator("tr.lit").count() == 0
        assert opened.console == []


def test_on_paper_no_column_is_cut(chromium, tmp_path):
    """A long reason and four hyperparameters on A4, of which 718 pixels are left."""
    path = tmp_path / "index.html"
    path.write_bytes(words_of(sample_run.write(tmp_path))["index.html"])
    with Opened(chromium, path, viewport={"width": 718, "height": 1000}) as opened:
        page = opened.page
        page.emulate_media(media="print")
        assert page.evaluate("document.documentElement.scrollWidth") <= 718
        heads = (
            page.locator("#leaderboard th").locator("visible=true").all_inner_texts()
        )
        assert heads[-1] == "hyperparameters"


def test_hostile_names_do_nothing(chromium, tmp_path):
    path = tmp_path / "index.html"
    path.write_bytes(words_of(hostile_run(tmp_path))["index.html"])
    with Opened(chromium, path) as opened:
        opened.page.on("dialog", lambda _: pytest.fail("a script ran"))
        assert opened.requests == [path.as_uri()] and opened.console == []
        assert HOSTILE in opened.page.locator("#notes").inner_text()
        assert opened.page.evaluate("document.documentElement.scrollWidth") <= 1280
        assert opened.page.locator("img, script >> nth=1").count() == 0


def test_on_paper_the_page_is_black_on_white(chromium, written):
    with Opened(chromium, written, color_scheme="dark") as opened:
        opened.page.emulate_media(media="print")
        told = opened.page.evaluate(
            "[getComputedStyle(document.documentElement).backgroundColor,"
            " getComputedStyle(document.documentElement).color]"
        )
        assert told == ["rgb(255, 255, 255)", "rgb(0, 0, 0)"]
        assert opened.page.locator("input").is_hidden()
