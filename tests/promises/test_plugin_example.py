"""The plugin in the façade's docstring is complete: it is cut out and run, behind its entry point."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import ci_exporter

METADATA = "Metadata-Version: 2.1\nName: coffee-metrics\nVersion: 1\n"


def _block(after: str) -> str:
    """The indented block that follows the line ending in *after*."""
    doc = textwrap.dedent(ci_exporter.__doc__ or "")
    lines = doc[doc.index(after) + len(after) :].splitlines()[1:]
    taken = []
    for line in lines:
        if line and not line.startswith("    "):
            break
        taken.append(line)
    return textwrap.dedent("\n".join(taken)).strip() + "\n"


def _install(folder: Path) -> None:
    """Put the example where an installed package would be."""
    (folder / "coffee_metrics.py").write_text(_block("``coffee_metrics.py``::"))
    info = folder / "coffee_metrics-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(METADATA)
    group, entry = _block("shown beside the others::").splitlines()
    group = group.removeprefix("[project.entry-points.").replace('"', "")
    (info / "entry_points.txt").write_text(f"[{group}\n{entry.replace(chr(34), '')}\n")


def _ci_exporter(folder: Path, *arguments: str) -> str:
    path = os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        [sys.executable, "-m", "exporter", *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": path},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_example_is_found_configured_polled_and_shown(tmp_path: Path) -> None:
    _install(tmp_path)
    config = tmp_path / "config.yaml"
    config.write_text(
        f"store: {{url: 'sqlite:///{tmp_path}/pipelines.db'}}\ncollectors: {{coffee: {{kitchen: attic}}}}\n"
    )
    assert "Coffee that is left." in _ci_exporter(tmp_path, "collectors")
    assert "coffee_cups" in _ci_exporter(tmp_path, "metrics")
    exposition = _ci_exporter(tmp_path, "once", "--config", str(config))
    assert 'coffee_cups{kitchen="attic"} 4.0\n' in exposition
    assert 'ci_exporter_collector_success{collector="coffee"} 1.0\n' in exposition


def test_the_facade_shows_exactly_what_it_promises() -> None:
    assert len(set(ci_exporter.__all__)) == len(ci_exporter.__all__)
    assert all(hasattr(ci_exporter, name) for name in ci_exporter.__all__)


def test_the_facade_hands_out_the_programs_own_classes() -> None:
    from exporter.contract import Collector
    from exporter.errors import ConfigError

    assert ci_exporter.Collector is Collector
    assert ci_exporter.ConfigError is ConfigError


def test_the_queries_are_resources_of_the_facade() -> None:
    from importlib.resources import files

    assert (files("ci_exporter.queries") / "README.md").is_file()
