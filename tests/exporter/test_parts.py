"""The parts of the service: what a reload keeps of what is shown, when collectors declare other families."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from exporter import parts
from exporter.config.load import Config
from exporter.config.schema import Settings
from exporter.contract import Collector, CollectorConfig
from exporter.errors import ConfigError
from exporter.families import Family, Sample, gauge
from exporter.parts import Parts
from exporter.rendering import Format
from exporter.store.sql import SqlStore
from tests.support.fakes import PageCollector

RED, BLUE = gauge("ci_red", "Red."), gauge("ci_blue", "Blue.")


class Wanting(CollectorConfig):
    """A configuration that says which families there are."""

    wants: tuple[Any, ...] = ()
    where: str = ""


class Configured(PageCollector):
    """Declares what its configuration says."""

    config_model = Wanting

    @property
    def declared(self) -> tuple[Family, ...]:
        if ValueError in self.config.wants:  # type: ignore[attr-defined]
            raise ValueError("a bug")
        return self.config.wants  # type: ignore[attr-defined, no-any-return]

    @property
    def target(self) -> str:
        return f"{self.name}:{self.config.where}"  # type: ignore[attr-defined]


class Live(Configured):
    """Read at each scrape, from what it keeps on its page."""

    polled = False


def config(**blocks: tuple[Any, ...] | Wanting) -> Config:
    """One collector for each name, with its families."""
    made = {name: one if isinstance(one, Wanting) else Wanting(wants=one) for name, one in blocks.items()}
    return Config(Settings(), dict(made))


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch, sqlite_url: str) -> Iterator[Callable[..., Parts]]:
    """Makes parts of a configuration; the collectors that there are: one, two, and the live one."""
    classes: dict[str, type[Collector[Any]]] = {
        name: type(name, (cls,), {"name": name})
        for name, cls in (("one", Configured), ("two", Configured), ("live", Live))
    }
    monkeypatch.setattr(parts, "collector_classes", lambda: classes)
    store = SqlStore(sqlite_url)
    yield lambda **blocks: Parts(config(**blocks), store)
    store.close()


def show(parts: Parts, name: str, *families: Family) -> None:
    parts.collectors[name].context.page.swap("a", {family: [Sample((), 1.0)] for family in families})


def text(parts: Parts) -> str:
    return parts.registry.render(Format.TEXT).decode()


def reload(parts: Parts, **blocks: Any) -> None:
    parts.exchange(parts.build(config(**blocks)))


def test_a_reload_keeps_what_is_shown_of_families_that_stay(start: Callable[..., Parts]) -> None:
    parts = start(one=(RED, BLUE))
    show(parts, "one", RED, BLUE)
    reload(parts, one=(BLUE,))
    assert "ci_blue 1.0" in text(parts)
    assert "ci_red" not in text(parts)
    reload(parts, one=(RED, BLUE))
    assert "ci_blue 1.0" in text(parts)
    assert "ci_red 1.0" not in text(parts)


def test_a_collector_of_another_target_begins_with_an_empty_page(start: Callable[..., Parts]) -> None:
    parts = start(one=(RED,))
    show(parts, "one", RED)
    reload(parts, one=Wanting(wants=(RED,), where="elsewhere"))
    assert "ci_red 1.0" not in text(parts)


def test_a_reload_that_is_refused_touches_nothing_that_is_shown(start: Callable[..., Parts]) -> None:
    parts = start(one=(RED,))
    show(parts, "one", RED)
    with pytest.raises(ConfigError, match="ci_red"):
        parts.build(config(one=(BLUE, RED), two=(gauge("ci_red", "Another."),)))
    with pytest.raises(ValueError, match="a bug"):
        parts.build(config(one=(ValueError,)))
    assert "ci_red 1.0" in text(parts)
    assert parts.exposition.page("one", ()).families == (RED,)


@pytest.mark.parametrize("order", [("one", "two"), ("two", "one")])
def test_a_new_collector_may_take_a_name_that_another_one_gives_up(
    start: Callable[..., Parts], order: tuple[str, str]
) -> None:
    parts = start(one=(RED,))
    show(parts, "one", RED)
    taken = gauge("ci_red", "Another.")
    wanted = {"one": (BLUE,), "two": (taken,)}
    reload(parts, **{name: wanted[name] for name in order})
    show(parts, "two", taken)
    assert text(parts).count("# TYPE ci_red gauge\nci_red 1.0\n") == 1
    assert {one.name for one in parts.rounds} == parts.collectors.keys() == {"one", "two"}


def test_a_collector_that_is_read_live_may_show_configured_families_too(start: Callable[..., Parts]) -> None:
    parts = start(live=(RED,))
    show(parts, "live", RED)
    assert "ci_red 1.0" in text(parts)
    reload(parts, live=(RED, BLUE))
    show(parts, "live", RED, BLUE)
    assert "ci_blue 1.0" in text(parts)


def test_a_collector_that_cannot_be_closed_keeps_no_other_open(start: Callable[..., Parts]) -> None:
    parts = start(one=(RED,), two=(BLUE,))
    closed: list[str] = []
    one, two = parts.collectors["one"], parts.collectors["two"]
    one.close = lambda: closed.append("one") or 1 / 0  # type: ignore[method-assign,assignment,func-returns-value]
    two.close = lambda: closed.append("two")  # type: ignore[method-assign]
    parts.close()
    assert closed == ["one", "two"]


def test_waking_before_there_is_an_engine_does_nothing(start: Callable[..., Parts]) -> None:
    parts = start(one=(RED,))
    parts.collectors["one"].context.wake("1")
    woken: list[tuple[str, str]] = []
    parts.wake = lambda *what: woken.append(what)  # type: ignore[assignment]
    parts.collectors["one"].context.wake("1")
    assert woken == [("one", "1")]
