"""From a file, the environment and flags to a frozen configuration, or to every problem at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from exporter.config import env as environment
from exporter.config import fields, secrets
from exporter.config import yaml as strict_yaml
from exporter.config.draft import Draft, Finding, Layer, Place
from exporter.config.env import LEGACY, EnvName
from exporter.config.expand import expand_all
from exporter.config.fields import Loc
from exporter.config.files import Unreadable, read_text
from exporter.config.guards import Fault
from exporter.config.messages import report_errors
from exporter.config.schema import Settings, root_model
from exporter.contract import CollectorConfig
from exporter.errors import ConfigError, Problem

MAX_FILE_BYTES = 4 * 1024 * 1024
NEED_RESTART = ("metrics", "hooks", "store", "engine", "timezone")
"""The sections of which a change needs a restart to take effect."""
_BOOL = TypeAdapter(bool)


@dataclass(frozen=True, slots=True)
class Config:
    """A checked configuration.

    ``collectors`` holds the blocks that are present and enabled, in the order they were written.
    ``path`` is the file, ``None`` when environment and defaults were all; ``lines`` tells where in it each
    key was written.
    """

    settings: Settings
    collectors: dict[str, CollectorConfig]
    path: Path | None = None
    lines: Mapping[str, int] = field(default_factory=dict)

    def located(self, problem: Problem) -> Problem:
        """*problem* with the file and the line of its key, or of what stands around it there."""
        key = "" if problem.file else problem.key
        while key and key not in self.lines:
            key = key.rpartition(".")[0]
        return replace(problem, file=str(self.path), line=self.lines[key]) if key else problem

    def running(self, settings: Settings) -> Config:
        """What a service that was started with *settings* runs with once it has read this."""
        started = {section: getattr(settings, section) for section in NEED_RESTART}
        return replace(self, settings=self.settings.model_copy(update=started))

    def redacted(self) -> dict[str, Any]:
        """The whole of it as plain dicts and lists to print, secrets masked."""
        shown: dict[str, Any] = secrets.redact(self.settings)
        return {**shown, "collectors": secrets.redact(self.collectors)}


def load(
    path: Path | None,
    *,
    models: Mapping[str, type[CollectorConfig]],
    env: Mapping[str, str],
    overrides: Mapping[str, Any] | None = None,
    legacy: Sequence[EnvName] = LEGACY,
) -> Config:
    """The configuration in *path*, overridden by *env*, and that by *overrides* from flags.

    *models* are the known collectors by name. *overrides* go by dotted key; ``None`` is a flag not given.

    Raises:
        ConfigError: with every problem found, in the order of the file.
    """
    draft = Draft(root_model(models))
    if path is not None:
        _read_file(draft, path, env)
    environment.apply_legacy(draft, env, legacy, models)
    environment.apply_systematic(draft, env)
    _apply_flags(draft, overrides or {})
    _normalise(draft)
    secrets.make_absolute(draft, path.absolute().parent if path else Path.cwd())
    secrets.read_files(draft)
    disabled = _disabled(draft, models)
    root = _validate(draft, models, disabled)
    findings = [found for found in draft.findings if not (found.soft and found.loc[:2] in disabled)]
    if findings or root is None:
        raise ConfigError(_problems(draft, findings))
    return _config(draft, root, models, disabled, path)


def _read_file(draft: Draft, path: Path, env: Mapping[str, str]) -> None:
    """Put the file's values into *draft*; stops with what is wrong when it says nothing at all."""
    try:
        document = strict_yaml.read(read_text(path, MAX_FILE_BYTES))
    except Unreadable as error:
        raise ConfigError([Problem("", str(error), str(path), error.line)]) from None
    draft.places[()] = Place(Layer.FILE, str(path))
    draft.places |= {loc: Place(Layer.FILE, str(path), line) for loc, line in document.lines.items()}
    for fault in document.faults:
        _report_fault(draft, str(path), fault)
    if document.broken:
        raise ConfigError([found.problem for found in draft.findings])
    if document.value is not None and not isinstance(document.value, dict):
        raise ConfigError([Problem("", "the file must be a mapping (key: value) at its top", str(path), 1)])
    faults: list[tuple[Loc, str]] = []
    draft.data = expand_all(document.value or {}, env, faults)
    for loc, message in faults:
        draft.report(loc, message, soft=True)


def _report_fault(draft: Draft, file: str, fault: Fault) -> None:
    loc = fields.outside_secret(draft.root, fault.loc)
    place = Place(Layer.FILE, file, fault.line)
    draft.findings.append(Finding(loc, Problem(fields.dotted(loc), fault.message, file, fault.line), place))


def _apply_flags(draft: Draft, overrides: Mapping[str, Any]) -> None:
    for key, value in overrides.items():
        if value is not None:
            plain = (
                list(value) if isinstance(value, tuple) else str(value) if isinstance(value, Path) else value
            )
            draft.put(tuple(key.split(".")), plain, Place(Layer.FLAG, "command line"))


def _normalise(draft: Draft) -> None:
    """Read an empty section as one without keys, and an empty text as "not set" where null may stand."""
    for loc, annotation, value in list(fields.visit(draft.root, draft.data)):
        if not loc:
            continue
        block = draft.get(loc[:-1])
        if value is None and fields.models(annotation) and not fields.nullable(annotation):
            block[loc[-1]] = {}
        elif value == "" and fields.nullable(annotation) and not fields.takes_text(annotation):
            block[loc[-1]] = None


def _disabled(draft: Draft, models: Mapping[str, type[CollectorConfig]]) -> set[Loc]:
    """Where the known blocks are that are switched off."""
    blocks = draft.get(("collectors",))
    found: set[Loc] = set()
    for name in blocks if isinstance(blocks, dict) else ():
        block = blocks[name]
        if name in models and isinstance(block, dict) and "enabled" in block:
            try:
                enabled = _BOOL.validate_python(block["enabled"])
            except ValidationError:
                continue
            if not enabled:
                found.add(("collectors", name))
    return found


def _validate(
    draft: Draft, models: Mapping[str, type[CollectorConfig]], disabled: set[Loc]
) -> Settings | None:
    """The validated whole, without the *disabled* blocks; ``None`` when pydantic refuses it.

    What is wrong in a disabled block is reported too, but not what it lacks: it is not going to run.
    """
    data = dict(draft.data)
    if disabled:
        data["collectors"] = {
            name: block for name, block in data["collectors"].items() if ("collectors", name) not in disabled
        }
    root: Settings | None = None
    try:
        root = draft.root.model_validate(data)  # type: ignore[assignment]
    except ValidationError as error:
        report_errors(draft, error.errors(include_url=False, include_input=False))
    for loc in sorted(disabled, key=str):
        try:
            models[str(loc[1])].model_validate(draft.get(loc))
        except ValidationError as error:
            found = error.errors(include_url=False, include_input=False)
            present = [item for item in found if item["type"] != "missing" and item["loc"]]
            report_errors(draft, present, loc)
    return root


def _problems(draft: Draft, findings: list[Finding]) -> list[Problem]:
    """The problems in reading order, with a last look for secrets: a validator may have quoted one."""
    known = secrets.known_secrets(draft)
    problems = []
    for finding in sorted(findings, key=lambda found: found.order):
        message = finding.problem.message
        for secret in known:
            message = message.replace(secret, secrets.HIDDEN)
        problems.append(replace(finding.problem, message=message))
    return list(dict.fromkeys(problems))


def _config(
    draft: Draft,
    root: Settings,
    models: Mapping[str, type[CollectorConfig]],
    disabled: set[Loc],
    path: Path | None,
) -> Config:
    # Settings itself, not the subclass made for this load: two loads of one file must compare equal.
    settings = Settings(**{name: getattr(root, name) for name in Settings.model_fields})
    fields_of = {name: f"block_{index}" for index, name in enumerate(models)}
    blocks: Any = getattr(root, "collectors")  # noqa: B009 - not declared on Settings
    collectors = {
        name: getattr(blocks, fields_of[name])
        for name in draft.data.get("collectors", {})
        if ("collectors", name) not in disabled
    }
    lines = {
        fields.dotted(loc): place.line
        for loc, place in draft.places.items()
        if place.layer is Layer.FILE and place.line
    }
    return Config(settings, collectors, path, lines)
