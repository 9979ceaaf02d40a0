"""Commands that only tell what exists: they load neither the database nor the web server."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Mapping
from typing import Any

from exporter import __version__
from exporter.contract import Collector
from exporter.families import Family
from exporter.plugins import collector_classes


def collectors(_options: argparse.Namespace) -> int:
    """List the collectors."""
    print_collectors(collector_classes())
    return 0


def metrics(options: argparse.Namespace) -> int:
    """List every family."""
    from exporter.selfmetrics import FAMILIES as SELF_FAMILIES

    rows = [(name, family) for name, cls in collector_classes().items() for family in cls.catalogue()]
    print_catalogue(rows + [("exporter", family) for family in SELF_FAMILIES], options.format)
    return 0


def version(_options: argparse.Namespace) -> int:
    """Print the version."""
    print(f"ci-exporter {__version__}")
    return 0


def print_collectors(classes: Mapping[str, type[Collector[Any]]]) -> None:
    """Name and purpose of each collector."""
    for name, cls in sorted(classes.items()):
        purpose = (cls.__doc__ or "").strip().partition("\n")[0]
        print(f"{name:<16} {len(cls.catalogue()):>3} families  {purpose}")


def print_catalogue(rows: Iterable[tuple[str, Family]], form: str) -> None:
    """Every family with type, unit, labels and source; shared ones once, with all their collectors."""
    owners: dict[Family, list[str]] = {}
    for collector, family in rows:
        owners.setdefault(family, []).append(collector)
    entries = [
        {
            "name": family.exposed_name,
            "type": family.kind,
            "unit": family.unit,
            "labels": list(family.labels),
            "collectors": names,
            "source": family.source,
            "help": family.help,
        }
        for family, names in owners.items()
    ]
    if form == "json":
        print(json.dumps(entries, indent=2))
    elif form == "markdown":
        print("| family | type | labels | collectors | meaning |\n|---|---|---|---|---|")
        for entry in entries:
            labels = ", ".join(f"`{label}`" for label in entry["labels"])
            names = ", ".join(entry["collectors"])
            print(f"| `{entry['name']}` | {entry['type']} | {labels} | {names} | {entry['help']} |")
    else:
        width = max(len(str(entry["name"])) for entry in entries)
        for entry in entries:
            labels = ",".join(entry["labels"])
            print(f"{entry['name']:<{width}}  {entry['type']:<9}  {entry['unit']:<7}  {{{labels}}}")
