"""The status page in a real browser, on the real program and a stand-in GitLab.

Screenshots for people are written to build/screenshots/.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, sync_playwright

from collectors.gitlab.standin.client import StandIn
from tests.acceptance.conftest import exporter_config
from tests.support.process import ROOT, ExporterProcess, wait_until
from tests.support.tools import require

# The program runs in a process that is killed at the end: it cannot tell which code it ran.

SCREENSHOTS = ROOT / "build" / "screenshots"
PATIENCE = 60_000.0
"""Milliseconds after which a test gives up; none passes by waiting for it."""
REFRESH = "document.getElementById('refresh').click()"


@dataclass
class Site:
    """The running program, its stand-in, and a browser; ``complaints`` is what the browser found wrong."""

    exporter: ExporterProcess
    standin: StandIn
    browser: Browser
    stack: ExitStack
    complaints: list[str] = field(default_factory=list)

    def open(self, query: str = "", **options: Any) -> Page:
        """A page in a fresh window; what it says on its console, and asks of others, is a complaint."""
        context = self.browser.new_context(**{"viewport": {"width": 1280, "height": 900}} | options)
        self.stack.callback(context.close)
        context.set_default_timeout(PATIENCE)
        page = context.new_page()
        page.on("console", lambda message: self.complaints.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: self.complaints.append(f"error: {error}"))
        page.on("request", lambda request: self._note(request.url))
        page.goto(f"{self.exporter.url}/status{query}")
        return page

    def _note(self, url: str) -> None:
        if not url.startswith(self.exporter.url):
            self.complaints.append(f"request: {url}")

    def pipeline(self, project: str, *script: str) -> int:
        """A pipeline of the default branch that has gone through the statuses of *script*."""
        steps = [[status, number] for number, status in enumerate(script)]
        number = int(self.standin.action("new_pipeline", project=project, script=steps)["pipeline_id"])
        self.standin.advance(len(script) + 1)
        return number


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium, without a window."""
    program = require("chromium", "chromium")
    with sync_playwright() as playwright:
        # Containers give no room in /dev/shm, and root may not use Chromium's own sandbox.
        flags = ["--no-sandbox", "--disable-dev-shm-usage"]
        browser = playwright.chromium.launch(executable_path=program, args=flags, timeout=PATIENCE)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def running(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The program with a day of history, some of it failing; all tests share it."""
    folder = tmp_path_factory.mktemp("status")
    with ExitStack() as stack:
        standin = stack.enter_context(
            StandIn.start(projects=10, history_days=1, history_pipelines=150, runners=6)
        )
        config = exporter_config(standin, f"sqlite:///{folder}/pipelines.db", {"backfill_days": 2})
        exporter = stack.enter_context(ExporterProcess(folder, {**config, "timezone": "Europe/Paris"}))
        exporter.start().wait_ready()
        yield Site(exporter, standin, browser, stack)


@pytest.fixture
def site(running: Site) -> Iterator[Site]:
    """The same, with windows that are closed after the test; fails on complaints of the browser."""
    with ExitStack() as stack:
        one = Site(running.exporter, running.standin, running.browser, stack)
        yield one
    assert one.complaints == []


def rows(page: Page) -> list[str]:
    """The keys of the recent runs."""
    return page.eval_on_selector_all("table.runs tbody tr", "rows => rows.map(row => row.dataset.key)")


def shoot(page: Page, name: str) -> None:
    """A picture of the whole page, for people."""
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    path = SCREENSHOTS / f"{name}.png"
    page.screenshot(path=path, full_page=True, animations="disabled")
    assert path.stat().st_size > 10_000


def violations(page: Page) -> list[str]:
    """What the axe scanner finds wrong."""
    found = Axe().run(page).response["violations"]
    return [f"{one['id']}: {node['html'][:200]}" for one in found for node in one["nodes"]]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_looks_as_the_system_wants_it(site: Site, scheme: Any) -> None:
    page = site.open(color_scheme=scheme, reduced_motion="reduce")
    assert len(rows(page)) == 30
    shoot(page, scheme)
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert background == {"light": "rgb(245, 246, 248)", "dark": "rgb(14, 19, 25)"}[scheme]


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 320)])
def test_it_is_accessible(site: Site, scheme: Any, width: int) -> None:
    # One project: the scan takes its time for each row, and all rows are made alike.
    page = site.open(color_scheme=scheme, viewport={"width": width, "height": 900})
    page.goto(f"{page.url}{page.locator('table.runs .c-project a').first.get_attribute('href')}&range=7d")
    page.locator("details summary").click()
    assert violations(page) == []


TOO_WIDE = """() => [...document.querySelectorAll("body, body *")]
  .filter((one) => one.getBoundingClientRect().right > document.documentElement.clientWidth + 0.5)
  .map((one) => one.outerHTML.slice(0, 120))"""


def test_no_width_needs_scrolling_sideways(site: Site) -> None:
    page = site.open(viewport={"width": 320, "height": 700}, has_touch=True, is_mobile=True)
    shoot(page, "phone")
    for width in (320, 480, 700, 720, 900, 1100, 1600):
        page.set_viewport_size({"width": width, "height": 700})
        assert page.evaluate(TOO_WIDE) == [], width


def test_filters_by_keyboard_alone(site: Site) -> None:
    page = site.open()
    project = str(page.locator("table.runs .c-project").first.inner_text())
    page.keyboard.press("Tab")
    assert focused(page) == "Skip to content"
    assert page.evaluate("document.activeElement.getBoundingClientRect().top") >= 0, "it is seen now"
    for _ in range(20):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.name") == "project":
            break
        outline = "getComputedStyle(document.activeElement).outlineStyle"
        assert page.evaluate(outline) != "none", focused(page)
    page.keyboard.type(project)
    with page.expect_navigation():
        page.keyboard.press("Enter")
    assert "project=" in page.url
    assert set(page.locator("table.runs .c-project").all_inner_texts()) == {project}
    assert page.locator("input[name=project]").input_value() == project
    page.get_by_role("link", name="Clear").press("Enter")
    page.wait_for_url("**/status?range=24h")


def focused(page: Page) -> str:
    return str(page.evaluate("document.activeElement.textContent.trim()"))


def test_a_refresh_keeps_scroll_focus_selection_and_open_details(site: Site) -> None:
    page = site.open()
    title = page.title()
    page.evaluate(PREPARE)
    before = page.evaluate(STATE)
    assert before["scroll"] > 300
    assert before["selected"]
    project = page.locator("table.runs .c-project").first.inner_text()
    numbers = [site.pipeline(project, "pending", "running") for _ in range(3)]
    refreshed(page, lambda: all(f"#{number}" in page.inner_text("table.runs") for number in numbers))
    site.standin.action("set_status", pipeline=numbers[0], status="success")
    row = f'tr[data-key$="/{numbers[0]}"]'
    refreshed(page, lambda: "success" in page.inner_text(row))
    after = page.evaluate(STATE)
    # The row with the focus moved down by three; the page moved along with it.
    assert abs(after.pop("top") - before.pop("top")) < 2
    after.pop("scroll"), before.pop("scroll")
    assert after == before
    assert page.title() == title or "failing" in page.title()


PREPARE = """() => {
  document.querySelector("input[name=ref]").value = "half typed";
  document.querySelector("details").open = true;
  const rows = document.querySelectorAll("table.runs tbody tr");
  const link = rows[4].querySelector("a");
  link.marked = "the same node";
  link.focus();
  rows[4].scrollIntoView({ block: "center" });
  const range = document.createRange();
  range.selectNodeContents(rows[6].querySelector(".c-project"));
  getSelection().removeAllRanges();
  getSelection().addRange(range);
}"""
STATE = """() => ({
  top: document.activeElement.getBoundingClientRect().top,
  scroll: scrollY,
  marked: document.activeElement.marked,
  selected: String(getSelection()),
  open: document.querySelector("details").open,
  typed: document.querySelector("input[name=ref]").value,
})"""


def refreshed(page: Page, condition: Callable[[], bool]) -> None:
    """Refresh until *condition* is true."""
    for _ in range(600):
        page.evaluate(REFRESH)
        page.wait_for_timeout(100)
        if condition():
            return
    raise AssertionError("it never came true")


def test_it_refreshes_by_itself_until_it_is_paused(site: Site) -> None:
    page = site.open()
    page.evaluate("document.documentElement.dataset.refresh = '0.2'")
    page.evaluate(REFRESH)
    number = site.pipeline(page.locator("table.runs .c-project").first.inner_text(), "pending")
    page.wait_for_selector(f'tr[data-key$="/{number}"]')
    assert page.inner_text("#updated").startswith("Updated")
    pause = page.get_by_role("button", name="Pause")
    pause.click()
    assert pause.get_attribute("aria-pressed") == "true"
    assert page.inner_text("#updated").startswith("Paused")
    pause.click()
    page.wait_for_function("document.getElementById('updated').textContent.startsWith('Updated')")


def test_a_branch_that_breaks_is_seen_and_heard(site: Site) -> None:
    page = site.open()
    project = page.locator("table.runs .c-project").first.inner_text()
    site.pipeline(project, "running", "failed")
    broken = page.locator("section[aria-labelledby=broken-title]")
    refreshed(page, lambda: project in broken.inner_text())
    status = page.get_by_role("status")
    assert "default branch" in str(status.text_content())
    assert status.get_attribute("aria-live") == "polite"
    shoot(page, "failing")


def test_it_works_without_script(site: Site) -> None:
    page = site.open("?status=success", java_script_enabled=False)
    assert page.locator("#pause").is_hidden()
    assert set(page.locator("table.runs .c-status").all_inner_texts()) == {"success"}
    page.get_by_label("Time").select_option("7d")
    page.get_by_role("button", name="Apply").click()
    page.wait_for_url("**range=7d**")
    page.get_by_role("link", name="Refresh").click()
    page.wait_for_url("**range=7d&status=success**")


def test_it_prints_without_what_paper_cannot_do(site: Site) -> None:
    page = site.open()
    page.emulate_media(media="print")
    assert page.locator("form.filters").is_hidden()
    assert page.locator("#pause").is_hidden()
    assert page.locator("table.runs").is_visible()
    assert page.pdf().startswith(b"%PDF")


def test_hostile_names_change_nothing(site: Site) -> None:
    hostile = "<img src=x onerror=document.title='hacked'>"
    page = site.open("?project=%3Cscript%3Ealert(1)%3C/script%3E&status=%22%3E%3Cb%3E")
    assert "No run of the last 24 hours matches" in page.inner_text("main")
    page = site.open()
    project = page.locator("table.runs .c-project").first.inner_text()
    site.standin.action("create_branch", project=project, name=hostile)
    site.standin.action("new_pipeline", project=project, ref=hostile, story="normal")
    refreshed(page, lambda: hostile in page.inner_text("table.runs"))
    assert page.locator("main img").count() == 0
    assert "hacked" not in page.title()


def test_a_start_without_answers_and_an_exporter_that_is_gone(
    browser: Browser, stack: ExitStack, tmp_path: Path
) -> None:
    standin = stack.enter_context(StandIn.start(projects=1))
    standin.faults({"kind": "drop", "path": ".*"})
    config = exporter_config(standin, f"sqlite:///{tmp_path}/pipelines.db", {})
    exporter = stack.enter_context(ExporterProcess(tmp_path, config).start())
    wait_until(lambda: exporter.answers("/healthz"), "alive")
    site = Site(exporter, standin, browser, stack)
    page = site.open()
    assert "No project has been read yet" in page.inner_text("main")
    assert violations(page) == []
    shoot(page, "empty")
    assert site.complaints == []
    exporter.terminate()
    page.evaluate(REFRESH)
    trouble = page.locator("#trouble")
    trouble.wait_for(state="visible")
    assert "the exporter does not answer" in trouble.inner_text()
    assert "next try in 60 s" in trouble.inner_text()
