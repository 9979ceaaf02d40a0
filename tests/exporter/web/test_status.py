"""The status page as it is served: over a real socket, from a real store, read by a strict HTML parser."""

from __future__ import annotations

import gzip
import itertools
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element
from zoneinfo import ZoneInfo

import html5lib
import pytest

from exporter.clock import FixedClock
from exporter.contract import Batch, Unit
from exporter.errors import StoreError
from exporter.model.runs import JobRun, PipelineRun, RefKind, Status
from exporter.store.sql import SqlStore
from exporter.web.status.shapes import CollectorState, Standing
from tests.support.runs import NOW, history_of

HOSTILE = [
    "acme/<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "&lt;b&gt; &amp; {{ 7*7 }} {% raw %}",
    "🚀/🧑‍💻/ﷺ",
    "\u202egnp.exe/עברית/العربية",
    "a[b]*?/c",
    "x" * 250,
]
_numbers = itertools.count(1)


class Site:
    """A store with projects, and the page that shows it at ``NOW``."""

    def __init__(self, store: SqlStore, serve: Callable[..., Any], connect: Callable[..., Any]) -> None:
        self.store = store
        self.clock = FixedClock(NOW)
        self.standing = Standing([CollectorState("gitlab", "gitlab", last_success=NOW)])
        self.units: dict[str, int] = {}
        self.history: Any = history_of(store)
        self.changes: dict[str, Any] = {}
        self._serve, self._connect = serve, connect
        self._client: Any = None

    def projects(self, *names: str) -> None:
        """Watch *names*."""
        units = [Unit(str(key), name, default_branch="main") for key, name in enumerate(names)]
        stored = self.store.register("source", units, backfill_days=0, now=NOW - timedelta(days=40))
        self.units = {name: one.id for name, one in zip(names, stored, strict=True)}
        for one in stored:
            self.store.save(one.id, Batch(cursor="start"), NOW)

    def run(
        self, project: str, status: Status = Status.SUCCESS, minutes: float = 10, **facts: Any
    ) -> PipelineRun:
        """Save a run of main that began *minutes* ago and took a minute."""
        created = NOW - timedelta(minutes=minutes)
        ended = created + timedelta(minutes=1) if status.finished else None
        given: dict[str, Any] = dict(
            run_id=next(_numbers),
            ref="main",
            ref_kind=RefKind.BRANCH,
            source="push",
            status=status,
            created_at=created,
            updated_at=ended or created,
            finished_at=ended,
            duration_seconds=60.0 if ended else None,
            queue_seconds=5.0,
            username="ann",
            web_url="https://ci.example.com/runs/1?a=1&b=2",
        )
        run = PipelineRun(**(given | facts))
        self.store.save(self.units[project], Batch(runs=(run,), jobs=facts.pop("jobs", ())), NOW)
        return run

    def get(self, query: str = "", *fields: str, path: str = "/status") -> Any:
        if self._client is None:
            parts = dict(history=self.history, clock=self.clock, standing=lambda: self.standing)
            self._client = self._connect(self._serve(**(parts | self.changes)))
        return self._client.get(f"{path}{query}", *fields)

    def page(self, query: str = "", status: int = 200) -> Page:
        """The page, parsed."""
        reply = self.get(query)
        assert reply.status == status, reply.body
        return Page(reply.body.decode())


class Page:
    """A parsed page; a mistake in its HTML is an error."""

    def __init__(self, html: str) -> None:
        self.html = html
        self.root: Element = html5lib.HTMLParser(strict=True, namespaceHTMLElements=False).parse(html)

    def all(self, tag: str, **attributes: str) -> list[Element]:
        wanted = {name.rstrip("_").replace("_", "-"): value for name, value in attributes.items()}
        return [one for one in self.root.iter(tag) if all(one.get(k) == v for k, v in wanted.items())]

    def part(self, key: str) -> Element:
        (found,) = [one for one in self.root.iter() if one.get("data-key") == key]
        return found

    def has(self, key: str) -> bool:
        return any(one.get("data-key") == key for one in self.root.iter())

    def told(self, key: str) -> str:
        return text(self.part(key))

    def rows(self, table: str) -> list[list[str]]:
        (found,) = self.all("table", id=table)
        return [[text(cell) for cell in row] for row in found.iter("tr")][1:]


def text(element: Element) -> str:
    """What a person reads there."""
    return " ".join("".join(element.itertext()).split())


@pytest.fixture
def site(sqlite_url: str, serve: Callable[..., Any], connect: Callable[..., Any]) -> Iterator[Site]:
    store = SqlStore(sqlite_url)
    yield Site(store, serve, connect)
    store.close()


# -- states


def test_before_the_first_project_it_says_what_to_do(site: Site) -> None:
    site.standing = Standing([CollectorState("gitlab", "gitlab", trouble="gitlab: looking for projects")])
    page = site.page()
    assert "No project has been read yet" in page.told("empty")
    assert "gitlab: gitlab: looking for projects" in text(page.all("footer")[0])
    assert not page.has("figures")


def test_without_a_collector_of_runs_it_says_which_setting_is_missing(site: Site) -> None:
    site.standing = Standing([CollectorState("runner", polled=False)])
    page = site.page()
    assert "write a block for your CI system under collectors:" in page.told("empty")
    assert "runner: read by each scrape" in text(page.all("footer")[0])


def test_projects_without_runs(site: Site) -> None:
    site.projects("acme/app", "acme/lib")
    page = site.page()
    assert "2 projects are watched, and none of them ran in the last 24 hours." in page.told("empty")
    assert page.rows("projects-table")[0][:2] == ["acme/app", "no run"]


def test_a_filter_that_matches_nothing_offers_a_way_back(site: Site) -> None:
    site.projects("acme/app")
    site.run("acme/app")
    page = site.page("?project=nobody&range=7d")
    assert "No run of the last 7 days matches these filters." in page.told("empty")
    links = {text(one): one.get("href") for one in page.part("empty").iter("a")}
    assert links["Show everything"] == "?range=7d"
    assert links["projects with “nobody” in their name"] == "?range=7d&project=%2Anobody%2A"


def test_the_figures_and_the_sentence(site: Site) -> None:
    site.projects("acme/app", "acme/lib")
    site.run("acme/app", minutes=50)
    site.run("acme/app", Status.FAILED, minutes=30)
    site.run("acme/lib", Status.RUNNING, minutes=125)
    page = site.page()
    assert page.told("figure/Success rate") == "Success rate50 %1 failed of 2"
    assert page.told("figure/Runs") == "Runs30 canceled"
    assert page.told("figure/Duration") == "Duration1 minmedian; p95 1 min"
    assert page.told("figure/Waiting to start") == "Waiting to start5 smedian; p95 5 s"
    assert page.told("figure/Under way now") == "Under way now11 running"
    assert page.told("figure/Failing default branches") == "Failing default branches1of 2 projects"
    (sentence,) = page.all("p", role="status")
    assert text(sentence) == (
        "1 default branch fails; 1 run under way; success rate 50 % in the last 24 hours."
    )
    assert page.rows("queue") == [["running", "1", "2 h 5 min acme/lib"]]


def test_failing_default_branches_say_since_when_and_who_began(site: Site) -> None:
    site.projects("acme/old", "acme/new", "acme/good", "acme/again", "acme/forgiven")
    site.run("acme/old", minutes=5000)
    site.run("acme/old", Status.FAILED, minutes=3000, username="bob")
    site.run("acme/old", Status.FAILED, minutes=20)
    site.run("acme/new", minutes=60)
    site.run("acme/new", Status.FAILED, minutes=5, username=None)
    site.run("acme/good", Status.FAILED, minutes=60)
    site.run("acme/good")
    site.run("acme/again", Status.FAILED, minutes=40)
    site.run("acme/again", Status.RUNNING, minutes=2)
    site.run("acme/forgiven", Status.FAILED, minutes=40, ref="topic")
    page = site.page()
    items = [text(one) for one in page.part("broken").iter("li")]
    assert items == [
        "failed acme/new main since 30 Mar 23:56 (4 min)",
        "failed acme/old main since 28 Mar 22:01 (2 d 1 h), begun by bob",
        "failed acme/again main running again since 30 Mar 23:21 (39 min), begun by ann",
    ]
    first = [row[0] for row in page.rows("projects-table")][:3]
    assert sorted(first) == ["acme/again", "acme/new", "acme/old"]


def test_a_long_streak_and_many_failing_branches_are_cut_short(site: Site) -> None:
    names = [f"acme/p{number:02}" for number in range(60)]
    site.projects(*names)
    run = site.run(names[0], Status.FAILED, minutes=1)
    older = tuple(
        replace(run, run_id=10_000 + number, created_at=NOW - timedelta(minutes=2)) for number in range(310)
    )
    site.store.save(site.units[names[0]], Batch(runs=older), NOW)
    for name in names[1:]:
        site.run(name, Status.FAILED, minutes=100)
    page = site.page()
    items = [text(one) for one in page.part("broken").iter("li")]
    assert len(items) == 12
    assert "or longer" in items[0]
    assert "and 48 more: narrow the page down" in page.told("broken")
    assert page.told("figure/Failing default branches").endswith("60of 60 projects")


def test_a_collector_that_is_stale_or_in_trouble_is_said_so(site: Site) -> None:
    site.projects("acme/app")
    site.run("acme/app")
    site.standing = Standing(
        [
            CollectorState("gitlab", "gitlab", last_success=NOW - timedelta(hours=3)),
            CollectorState(
                "other", "other", last_success=NOW - timedelta(minutes=1), trouble="token refused"
            ),
            CollectorState("young", "young"),
        ]
    )
    page = site.page()
    assert "gitlab has read nothing since" in page.told("warning/1")
    assert "3 h ago: what it brought is that old" in page.told("warning/1")
    assert page.part("collector/gitlab").get("class") == "bad"
    assert "gitlab: stale" in page.told("collector/gitlab")
    assert "other: token refused" in page.told("collector/other")
    assert "young: nothing read yet" in page.told("collector/young")


def test_a_store_that_fails_is_one_sentence(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    class Broken:
        def version(self) -> str:
            raise StoreError("cannot read postgresql://ci@db.internal/ci: connection refused")

    site.history = Broken()
    reply = site.get()
    assert reply.status == 503
    page = Page(reply.body.decode())
    assert "The store gave no answer" in page.told("unavailable")
    assert "db.internal" not in page.html
    assert "etag" not in reply.headers
    assert reply.headers["content-security-policy"].startswith("default-src 'none'")
    assert ["the status page cannot be shown" in record.getMessage() for record in caplog.records] == [True]
    assert site.get(path="/healthz").status == 200


def test_waiting_jobs_are_told_where_runners_are_known(site: Site) -> None:
    site.projects("acme/app")
    site.run("acme/app")
    assert not site.page().has("waiting")
    site.standing = Standing(site.standing.collectors, waiting={})
    assert site.page().told("waiting") == "No job waits for a runner."
    site.standing = Standing(site.standing.collectors, waiting={"none": 2, "group": 3})
    assert site.page().told("waiting") == (
        "Jobs that wait for a runner: 3 for group, 2 for no runner that is online."
    )


# -- lists


def test_recent_runs_and_the_older_ones(site: Site) -> None:
    site.projects("acme/app")
    runs = [site.run("acme/app", minutes=number) for number in range(40)]
    page = site.page("?ref=ma*")
    assert [row[1] for row in page.rows("runs")] == [f"#{run.run_id}" for run in runs[:30]]
    assert page.rows("runs")[1][2:4] == ["acme/app", "main"]
    assert page.rows("runs")[1][5:] == ["1 min", "5 s", "ann", "push"]
    (older,) = [one for one in page.part("runs").iter("a") if text(one) == "Older runs"]
    second = site.page(older.get("href") or "")
    assert [row[1] for row in second.rows("runs")] == [f"#{run.run_id}" for run in runs[30:]]
    links = {text(one): one.get("href") for one in second.part("runs").iter("a")}
    assert links["Newest runs"] == "?ref=ma%2A"
    assert "Older runs" not in links


def test_runs_are_called_as_people_do_and_of_several_systems_each_is_named(site: Site) -> None:
    site.projects("acme/app")
    site.run("acme/app", Status.FAILED, run_id=1 << 50, number=7)
    (alone,) = site.page().rows("runs")
    assert alone[1:3] == ["#7", "acme/app"]
    site.standing.collectors.append(CollectorState("jenkins", "jenkins", True, NOW))
    page = site.page()
    assert page.rows("runs")[0][2] == "acme/app gitlab"
    assert "acme/app main gitlab" in page.told("broken")


def test_a_position_that_is_none_shows_the_newest_runs(site: Site) -> None:
    site.projects("acme/app")
    site.run("acme/app")
    page = site.page("?after=nonsense")
    assert "these are the newest" in page.told("warning/1")
    assert len(page.rows("runs")) == 1


def test_jobs_that_fail_and_that_are_slow(site: Site) -> None:
    site.projects("acme/app")
    run = site.run("acme/app")
    jobs = [
        JobRun(
            job_id=number,
            run_id=run.run_id,
            stage="test",
            name=name,
            status=status,
            created_at=run.created_at,
            started_at=run.created_at,
            finished_at=NOW,
            duration_seconds=seconds,
        )
        for number, (name, status, seconds) in enumerate(
            [("unit", Status.FAILED, 10.0), ("unit", Status.SUCCESS, 20.0), ("soak", Status.SUCCESS, 900.0)],
            1,
        )
    ]
    site.store.save(site.units["acme/app"], Batch(jobs=tuple(jobs)), NOW)
    page = site.page()
    assert page.rows("failing") == [["unit test", "acme/app", "1 50 %", "2", "1"]]
    assert [row[0] for row in page.rows("slowest")] == ["soak test", "unit test"]


def test_all_projects_are_told_failing_first_and_their_number_is_bounded(site: Site) -> None:
    names = [f"acme/p{number:03}" for number in range(120)]
    site.projects(*names)
    site.run(names[50], Status.FAILED)
    site.run(names[60])
    site.run(names[60], Status.FAILED, ref="topic")
    rows = site.page().rows("projects-table")
    assert len(rows) == 100
    assert rows[0] == ["acme/p050", "failed main", "1", "0 %", "1 min", "1 min"]
    assert rows[1][:4] == ["acme/p060", "success main", "2", "50 %"]
    assert rows[2][:2] == ["acme/p000", "no run"]
    assert "and 20 more" in site.page().told("projects")


# -- names, links, times


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_are_text_and_nothing_else(site: Site, name: str) -> None:
    site.projects(name)
    run = site.run(name, Status.FAILED, ref=name, source=name, username=name)
    job = JobRun(1, run.run_id, name, name, Status.FAILED, NOW, NOW, NOW, 5.0)
    site.store.save(site.units[name], Batch(jobs=(job,)), NOW)
    site.standing = Standing([CollectorState("gitlab", "gitlab", last_success=NOW, trouble=name)])
    page = site.page()
    shown = " ".join(name.split())
    assert [row[2:4] + row[7:] for row in page.rows("runs")] == [[shown, shown, shown, shown]]
    assert [one.get("src") for one in page.all("script")] == [page.all("script")[0].get("src")]
    assert all((one.get("src") or "").startswith("status/icon.svg") for one in page.all("img"))
    for element in page.root.iter():
        assert not [key for key in element.attrib if key.startswith("on") or key == "style"], element.attrib
    told = {id(inner) for bdi in page.all("bdi") for inner in bdi.iter()}
    spoken = [one for one in page.part("runs").iter() if (one.text or "").strip() == shown.strip()]
    assert spoken
    assert all(id(one) in told for one in spoken)
    # The link of the project leads to it, and to it alone.
    (link,) = [one for one in page.part("runs").iter("a") if one.get("class") == "quiet"]
    assert [row[2] for row in site.page(link.get("href") or "").rows("runs")] == [shown]


@pytest.mark.parametrize(
    ("url", "href"),
    [
        ("https://ci.example.com/1?a=1&b='\"<>", "https://ci.example.com/1?a=1&b='\"<>"),
        ("HTTP://ci.example.com/1", "HTTP://ci.example.com/1"),
        ("javascript:alert(1)", None),
        (" javascript:alert(1)", None),
        ("data:text/html,x", None),
        ("//ci.example.com/1", None),
        ("https:alert", None),
        ("http://[::1", None),
        ("", None),
        (None, None),
    ],
)
def test_only_web_addresses_become_links(site: Site, url: str | None, href: str | None) -> None:
    site.projects("acme/app")
    run = site.run("acme/app", web_url=url)
    page = site.page()
    links = [one for one in page.part("runs").iter("a") if text(one) == f"#{run.run_id}"]
    assert [one.get("href") for one in links] == ([href] if href else [])
    assert all("noopener" in (one.get("rel") or "") for one in links)


def test_times_are_those_of_the_configured_zone_and_exact_on_hover(site: Site) -> None:
    site.changes = {"zone": ZoneInfo("Asia/Kolkata")}
    site.projects("acme/app")
    site.run("acme/app", minutes=1.5)
    page = site.page()
    (shown,) = [one for row in page.all("table", id="runs") for one in row.iter("time")]
    assert (text(shown), shown.get("datetime"), shown.get("title")) == (
        "05:28:30",
        "2026-03-31T05:28:30+05:30",
        "2026-03-31T05:28:30+05:30",
    )
    assert "times in Asia/Kolkata" in text(page.all("footer")[0])


@pytest.mark.parametrize(
    "query",
    ["?range=1y", "?status=%3Cb%3E&range=24h", "?project=" + "x" * 300, "?a&b&=&%FF%00", "?" + "ref=x&" * 60],
)
def test_no_address_is_an_error(site: Site, query: str) -> None:
    site.projects("acme/app")
    site.run("acme/app")
    page = site.page(query)
    assert page.has("notice/1") or query == "?a&b&=&%FF%00"


def test_the_form_says_what_is_chosen(site: Site) -> None:
    site.projects("acme/app")
    site.run("acme/app", source="web")
    page = site.page("?range=30d&status=success&project=ac*&ref=main&source=web&provider=gitlab")
    chosen = {
        select.get("name"): [one.get("value") for one in select if one.get("selected") is not None]
        for select in page.all("select")
    }
    assert chosen == {"range": ["30d"], "provider": ["gitlab"], "status": ["success"]}
    assert {one.get("name"): one.get("value") for one in page.all("input")} == {
        "project": "ac*",
        "ref": "main",
        "source": "web",
    }
    assert len(page.rows("runs")) == 1
    lists = {one.get("id"): [option.get("value") for option in one] for one in page.all("datalist")}
    assert lists == {"projects": ["acme/app"], "sources": ["web"]}


def test_charts_have_words_and_a_table(site: Site) -> None:
    site.projects("acme/app")
    site.run("acme/app", minutes=90)
    page = site.page("?range=7d")
    drawn = [one for one in page.root.iter() if one.tag.endswith("svg") and one.get("role") == "img"]
    assert len(drawn) == 3
    ids = {one.get("id") for one in page.root.iter()}
    for one in drawn:
        assert set((one.get("aria-labelledby") or "").split()) <= ids
    assert [row[1:] for row in page.rows("steps")] == [["1", "1", "0", "100 %", "1 min", "1 min"]]


def test_ids_and_row_keys_are_unique(site: Site) -> None:
    site.projects("acme/app", "acme/lib")
    for name in site.units:
        site.run(name, Status.FAILED)
        site.run(name, Status.RUNNING)
    page = site.page()
    ids = [one.get("id") for one in page.root.iter() if one.get("id")]
    assert len(ids) == len(set(ids))
    for parent in page.root.iter():
        keys = [one.get("data-key") for one in parent if one.get("data-key")]
        assert len(keys) == len(set(keys))


# -- HTTP


def test_nothing_comes_from_another_host_and_nothing_inline(site: Site) -> None:
    site.projects("acme/app")
    site.run("acme/app", web_url=None)
    reply = site.get()
    policy = reply.headers["content-security-policy"]
    assert "unsafe" not in policy
    assert "default-src 'none'" in policy
    page = Page(reply.body.decode())
    assert not page.all("style")
    assert not [one for one in page.all("meta") if one.get("http-equiv")]
    assert "http://" not in page.html
    assert "https://" not in page.html
    for element in page.root.iter():
        for name in ("src", "href"):
            assert not (element.get(name) or "").startswith(("http", "//", "/")), element.attrib
    for name, kind in (("app.css", "text/css"), ("app.js", "text/javascript"), ("icon.svg", "image/svg+xml")):
        (link,) = {value for value in re.findall(r'"(status/[^"]+)"', page.html) if name in value}
        asset = site.get(path=f"/{link}")
        assert asset.status == 200
        assert asset.headers["content-type"].startswith(kind)
        assert "immutable" in asset.headers["cache-control"]
        assert "http://" not in asset.body.decode().replace("http://www.w3.org/2000/svg", "")
        assert site.get(path=f"/status/{name}").headers["cache-control"] == "no-cache"
        assert site.get("", f"If-None-Match: {asset.headers['etag']}", path=f"/{link}").status == 304


def test_an_unchanged_page_is_not_sent_again(site: Site) -> None:
    site.projects("acme/app")
    site.run("acme/app")
    tag = site.get().headers["etag"]
    again = site.get("", f'If-None-Match: "x", {tag}')
    assert (again.status, again.body, again.headers["etag"]) == (304, b"", tag)
    assert site.get("?range=7d", f"If-None-Match: {tag}").status == 200
    site.clock.advance(20)
    assert site.get("", f"If-None-Match: {tag}").status == 304, "ages are told in minutes"
    site.run("acme/app", minutes=1)
    assert site.get("", f"If-None-Match: {tag}").status == 200, "there is a new run"
    tag = site.get().headers["etag"]
    site.clock.advance(60)
    assert site.get("", f"If-None-Match: {tag}").status == 200, "a minute is over"
    tag = site.get().headers["etag"]
    site.standing = Standing([CollectorState("gitlab", "gitlab", last_success=NOW, trouble="refused")])
    assert site.get("", f"If-None-Match: {tag}").status == 200, "a collector is in trouble"


def test_the_page_is_compressed_for_who_asks(site: Site) -> None:
    plain, packed = site.get(), site.get("", "Accept-Encoding: gzip")
    assert packed.headers["content-encoding"] == "gzip"
    assert gzip.decompress(packed.body) == plain.body
    assert packed.headers["vary"] == plain.headers["vary"] == "Accept-Encoding"
    assert plain.headers["cache-control"] == "private, no-cache"


def test_the_page_is_absent_without_a_history(serve: Callable[..., Any], connect: Callable[..., Any]) -> None:
    client = connect(serve())
    assert [client.get(path).status for path in ("/status", "/status/app.css")] == [404, 404]


@pytest.mark.no_cover  # long, through code that smaller tests cover
def test_the_number_of_questions_does_not_grow_with_the_projects(site: Site) -> None:
    asked: list[str] = []
    history = site.history

    class Counting:
        def __getattr__(self, name: str) -> Any:
            asked.append(name)
            return getattr(history, name)

    site.history = Counting()
    site.projects(*(f"acme/p{number:03}" for number in range(100)))
    for name in site.units:
        site.run(name, Status.CANCELED)
    site.page()
    assert len(asked) <= 16, asked


def test_jinja_is_imported_only_when_the_page_is_asked_for() -> None:
    code = "import exporter.web.app, sys; print('jinja2' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


# -- colours


def test_the_colours_have_the_contrast_of_wcag_aa() -> None:
    css = (Path(__file__).parents[3] / "exporter/web/templates/app.css").read_text()
    schemes = re.findall(r":root \{(.*?)\}", css, re.S)[:2]
    assert len(schemes) == 2
    for scheme in schemes:
        colours = dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6})", scheme))
        assert len(colours) >= 16
        for behind in ("page", "card"):
            for front in ("text", "soft", "accent", "good", "bad", "warn"):
                assert contrast(colours[front], colours[behind]) >= 4.5, (front, behind)
            assert contrast(colours["edge"], colours[behind]) >= 3, behind
        assert contrast(colours["on-accent"], colours["accent"]) >= 4.5
        for front in ("text", "soft", "bad"):
            assert contrast(colours[front], colours["bad-tint"]) >= 4.5, front
        for front in ("text", "soft"):
            assert contrast(colours[front], colours["warn-tint"]) >= 4.5, front
        assert contrast(colours["fill-bad"], colours["card"]) >= 3


def contrast(one: str, other: str) -> float:
    """The contrast ratio as WCAG 2 defines it."""
    lighter, darker = sorted((luminance(one), luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def luminance(colour: str) -> float:
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    red, green, blue = (
        part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
