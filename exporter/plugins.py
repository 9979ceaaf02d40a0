"""Which collectors exist: every module of our folder, then those that other packages announce."""

from __future__ import annotations

import importlib
import pkgutil
from importlib.metadata import entry_points, packages_distributions
from typing import Any

from exporter.contract import Collector
from exporter.errors import ConfigError

ENTRY_POINT_GROUP = "ci_exporter.collectors"
_FOLDER = "collectors"
_OURS = "ci-exporter"
_NEEDED = ("name", "config_model", "families")


def collector_classes() -> dict[str, type[Collector[Any]]]:
    """``name -> class`` of every collector there is.

    Raises:
        ConfigError: two of them have one name, or one cannot be imported or is incomplete.
    """
    found: dict[str, type[Collector[Any]]] = {}
    for candidate, origin in [*_from_folder(), *_from_entry_points()]:
        if missing := [what for what in _NEEDED if not hasattr(candidate, what)]:
            raise ConfigError(
                f"the collector {candidate.__qualname__} of {origin} lacks {', '.join(missing)};"
                " correct or uninstall it"
            )
        other = found.setdefault(candidate.name, candidate)
        if other is not candidate:
            raise ConfigError(
                f"{origin} brings a collector named {candidate.name}, which {other.__module__} has already;"
                " uninstall one of them"
            )
    return found


def _from_folder() -> list[tuple[type[Collector[Any]], str]]:
    """The collectors of our folder: classes that a module (or a package's front) defines or shows."""
    package = importlib.import_module(_FOLDER)
    found = []
    for module_info in sorted(pkgutil.iter_modules(package.__path__), key=lambda info: info.name):
        if module_info.name.startswith("_"):
            continue
        name = f"{_FOLDER}.{module_info.name}"
        try:
            module = importlib.import_module(name)
        except Exception as error:
            raise ConfigError(
                f"{name} cannot be imported: {error}; install what it needs, or ci-exporter anew"
            ) from error
        found += [
            (value, name)
            for _, value in sorted(vars(module).items())
            if _is_collector(value) and f"{value.__module__}.".startswith(f"{name}.")
        ]
    return found


def _from_entry_points() -> list[tuple[type[Collector[Any]], str]]:
    """The collectors that installed packages announce."""
    found = []
    for entry_point in sorted(entry_points(group=ENTRY_POINT_GROUP), key=lambda point: point.name):
        origin = f"entry point {entry_point.name} ({entry_point.value})"
        try:
            value = entry_point.load()
        except Exception as error:
            raise ConfigError(
                f"{origin} cannot be imported: {error}; fix or uninstall that package"
            ) from error
        if not _is_collector(value):
            raise ConfigError(f"{origin} is no Collector class; fix or uninstall that package")
        found.append((value, origin))
    return found


def _is_collector(value: object) -> bool:
    return (
        isinstance(value, type)
        and issubclass(value, Collector)
        and not getattr(value, "__abstractmethods__", None)
    )


def refuse_foreign_packages() -> None:
    """Refuse to run when another package installed a folder of one of our names over ours.

    Raises:
        ConfigError: with the name of that package.
    """
    owners = packages_distributions()
    for name in ("exporter", _FOLDER):
        others = sorted(set(owners.get(name, ())) - {_OURS})
        if others:
            raise ConfigError(
                f"the package {others[0]} also installs a top-level folder {name!r}, over which Python cannot"
                f" tell ours; install ci-exporter in an environment of its own"
            )
