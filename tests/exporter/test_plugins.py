"""Plugins: which collectors are found, and what is said when one cannot be."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from exporter import plugins
from exporter.errors import ConfigError
from exporter.plugins import collector_classes, refuse_foreign_packages

CLASS = """
from exporter.contract import Collector, CollectorConfig

class {cls}(Collector[CollectorConfig]):
    name = "{name}"
    config_model = CollectorConfig
    families = ()
    def collect(self):
        return iter(())
"""

Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Puts a distribution with one module and one entry point on the path."""
    monkeypatch.syspath_prepend(str(tmp_path))
    made: list[str] = []

    def make(module: str, code: str, target: str, *, point: str = "x") -> None:
        (tmp_path / f"{module}.py").write_text(code)
        info = tmp_path / f"{module}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[ci_exporter.collectors]\n{point} = {target}\n")
        importlib.invalidate_caches()
        made.append(module)

    yield make
    for module in made:
        sys.modules.pop(module, None)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Stands for our folder of collectors."""
    path = tmp_path / "ourcollectors"
    path.mkdir()
    (path / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(plugins, "_FOLDER", "ourcollectors")
    yield path
    for name in [name for name in sys.modules if name.partition(".")[0] == "ourcollectors"]:
        del sys.modules[name]


def test_ours_are_found_in_their_folder() -> None:
    found = collector_classes()
    assert found["gitlab"].__module__.startswith("collectors.gitlab")
    assert not {name for name in found if name.startswith("_")}


def test_files_and_folders_are_found_but_not_those_with_an_underscore(folder: Path) -> None:
    (folder / "plain.py").write_text(CLASS.format(cls="Plain", name="plain"))
    (folder / "_helper.py").write_text(CLASS.format(cls="Helper", name="helper"))
    (folder / "deep").mkdir()
    (folder / "deep" / "__init__.py").write_text("from ourcollectors.deep.inner import Deep\n")
    (folder / "deep" / "inner.py").write_text(CLASS.format(cls="Deep", name="deep"))
    assert sorted(collector_classes()) == ["deep", "plain"]


def test_imported_and_abstract_classes_are_nobodys_collector(folder: Path) -> None:
    (folder / "plain.py").write_text(CLASS.format(cls="Plain", name="plain"))
    (folder / "plainer.py").write_text(
        "from exporter.contract import Collector\nfrom ourcollectors.plain import Plain\n"
        "class Base(Collector):\n    name = 'base'\n"
        "class Plainer(Plain):\n    name = 'plainer'\n"
    )
    assert sorted(collector_classes()) == ["plain", "plainer"]


def test_a_file_of_ours_that_cannot_be_imported_is_a_clear_error(folder: Path) -> None:
    (folder / "plain.py").write_text("import no_such_driver\n")
    with pytest.raises(
        ConfigError, match=r"ourcollectors\.plain cannot be imported: .*no_such_driver.*; install"
    ):
        collector_classes()


def test_third_party_collectors_come_by_entry_point(install: Install) -> None:
    install("acme_ci", CLASS.format(cls="Acme", name="acme"), "acme_ci:Acme")
    assert collector_classes()["acme"].__module__ == "acme_ci"


def test_two_collectors_of_one_name_are_refused_naming_both(install: Install) -> None:
    install("acme_ci", CLASS.format(cls="Acme", name="gitlab"), "acme_ci:Acme")
    with pytest.raises(
        ConfigError,
        match=r"entry point x \(acme_ci:Acme\) brings a collector named gitlab, which collectors\.gitlab.*"
        r" has already; uninstall one",
    ):
        collector_classes()


@pytest.mark.parametrize(
    ("code", "target", "says"),
    [
        (
            "import no_such_driver",
            "acme_ci:Acme",
            "cannot be imported: No module named 'no_such_driver'; fix",
        ),
        ("raise RuntimeError('boom')", "acme_ci:Acme", "cannot be imported: boom; fix or uninstall"),
        ("", "acme_ci:Acme", "cannot be imported: .*Acme.*; fix or uninstall"),
        ("", "acme_other:Acme", "cannot be imported: No module named 'acme_other'; fix"),
        ("Acme = 5", "acme_ci:Acme", "is no Collector class; fix or uninstall"),
        ("class Acme: pass", "acme_ci:Acme", "is no Collector class; fix or uninstall"),
        (
            "from exporter.contract import Collector\nclass Acme(Collector):\n    def collect(self): ...",
            "acme_ci:Acme",
            "the collector Acme of entry point x .* lacks name, config_model, families; correct or uninstall",
        ),
    ],
)
def test_a_broken_plugin_is_a_clear_error(install: Install, code: str, target: str, says: str) -> None:
    install("acme_ci", code, target)
    with pytest.raises(ConfigError, match=says):
        collector_classes()


def test_another_owner_of_our_folders_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        plugins,
        "packages_distributions",
        lambda: {"collectors": ["ci-exporter", "acme"], "exporter": ["ci-exporter"]},
    )
    with pytest.raises(ConfigError, match="the package acme also installs a top-level folder 'collectors'"):
        refuse_foreign_packages()


def test_our_own_installation_is_fine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plugins, "packages_distributions", lambda: {"collectors": ["ci-exporter"]})
    refuse_foreign_packages()
