"""Settings from environment variables: systematic names for every key, and names of replaced systems."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from exporter.config import fields
from exporter.config import yaml as strict_yaml
from exporter.config.draft import Draft, Finding, Layer, Place
from exporter.config.fields import Loc
from exporter.config.guards import Fault
from exporter.config.messages import unknown
from exporter.contract import CollectorConfig
from exporter.errors import Problem

FILE = "environment"


@dataclass(frozen=True, slots=True)
class EnvName:
    """A variable that users already have set, and the key it stands for.

    ``key`` is dotted; ``*`` in it means every block that is present and has the rest of the key. ``convert``
    turns the text into the value, and raises ``ValueError`` with what is wrong. ``block`` is where the key
    belongs to if that need not be there: see :data:`BLOCKS`.
    """

    name: str
    key: str
    convert: Callable[[str], Any] = str
    block: str = ""


def _local_address(text: str) -> str:
    if not (text.isascii() and text.isdigit() and int(text[:6]) <= 65535):
        raise ValueError("must be a port from 0 to 65535")
    return f"127.0.0.1:{int(text)}"


def _rooted(text: str) -> str:
    return "/" + text.lstrip("/")


def _level(text: str) -> str:
    # Words of other logging libraries, for variables that were set for a program which used one of them.
    others = {"trace": "debug", "critical": "error", "dpanic": "error", "panic": "error", "fatal": "error"}
    return others.get(text.lower(), text)


LEGACY: tuple[EnvName, ...] = (
    EnvName("METRICS_PORT", "metrics.addr", _local_address),
    EnvName("METRICS_PORT", "metrics.enabled", lambda _: True),
    EnvName("METRICS_URL", "metrics.path", _rooted),
    EnvName("LOG_LEVEL", "log.level", _level),
    EnvName("LOG_PORT", "log.port"),
    EnvName("SCHEDULING_POLL_INTERVAL", "collectors.*.poll_interval_seconds"),
    EnvName("KAFKA_BOOTSTRAP_SERVERS", "sinks.kafka.bootstrap_servers", block="sinks.kafka"),
    EnvName("KAFKA_TOPIC", "sinks.kafka.topic", block="sinks.kafka"),
    EnvName("KAFKA_LOGIN", "sinks.kafka.login", block="sinks.kafka"),
    EnvName("KAFKA_PASSWORD", "sinks.kafka.password", block="sinks.kafka"),
    EnvName("REDIS_ADDRESS", "sinks.kafka.redis.address", block="sinks.kafka"),
    # After the address, which makes the block that they belong to.
    EnvName("REDIS_PASSWORD", "sinks.kafka.redis.password", block="sinks.kafka.redis"),
    EnvName("CACHE_TTL", "sinks.kafka.redis.ttl_minutes", block="sinks.kafka.redis"),
)
"""The names that belong to no single collector; a collector declares its own in ``env_names``."""

BLOCKS: Mapping[str, tuple[str, ...]] = {"sinks.kafka": ("KAFKA_BOOTSTRAP_SERVERS", "KAFKA_TOPIC")}
"""The variables that make a block together; what else belongs to it counts only where the block is."""


def apply_legacy(
    draft: Draft,
    env: Mapping[str, str],
    legacy: Sequence[EnvName],
    models: Mapping[str, type[CollectorConfig]],
) -> None:
    """Put what *legacy* names, and the ``env_names`` of each present collector, into *draft*."""
    _enable(draft, env, models)
    for entry in (*legacy, *_declared(draft, models)):
        text = env.get(entry.name, "").strip()
        if not text or not _has_block(draft, env, entry.block):
            continue
        place = Place(Layer.LEGACY, FILE, variable=entry.name)
        try:
            converted = entry.convert(text)
        except ValueError as error:
            _report(draft, entry.name, str(error), Layer.LEGACY)
            continue
        for loc in _targets(draft, entry.key):
            if not _fills_a_mapping(draft, loc):
                _put(draft, loc, converted, place)


def _has_block(draft: Draft, env: Mapping[str, str], block: str) -> bool:
    """Whether *block* is there already, or *env* has all that makes it."""
    if not block or draft.get(tuple(block.split("."))) is not None:
        return True
    makers = BLOCKS.get(block, ())
    return bool(makers) and _all_set(env, makers)


def _enable(draft: Draft, env: Mapping[str, str], models: Mapping[str, type[CollectorConfig]]) -> None:
    """Make the block of each collector whose source variables name, unless the file has it."""
    for name, model in models.items():
        enables = getattr(model, "env_enables", ())
        for variables in sorted((one,) if isinstance(one, str) else one for one in enables):
            if _all_set(env, variables) and draft.get(("collectors", name)) is None:
                draft.put(("collectors", name), {}, Place(Layer.LEGACY, FILE, variable=variables[0]))


def _all_set(env: Mapping[str, str], names: Iterable[str]) -> bool:
    return all(env.get(name, "").strip() for name in names)


def _present(draft: Draft) -> list[str]:
    blocks = draft.get(("collectors",))
    return [str(name) for name in blocks] if isinstance(blocks, dict) else []


def _declared(draft: Draft, models: Mapping[str, type[CollectorConfig]]) -> Iterator[EnvName]:
    for block in _present(draft):
        names: Mapping[str, str] = getattr(models.get(block), "env_names", {})
        for variable, key in names.items():
            yield EnvName(variable, f"collectors.{block}.{key}")


def _targets(draft: Draft, key: str) -> list[Loc]:
    head, star, tail = key.partition(".*.")
    if not star:
        return [tuple(key.split("."))]
    blocks = draft.get(tuple(head.split(".")))
    found: list[Loc] = [
        (*head.split("."), name, *tail.split(".")) for name in (blocks if isinstance(blocks, dict) else ())
    ]
    return [loc for loc in found if fields.at(draft.root, loc) is not None]


def _fills_a_mapping(draft: Draft, loc: Loc) -> bool:
    """Whether *loc* would add an entry to a mapping of free names that already has some.

    A variable that stands for one database when set alone must not add one to those in the file.
    """
    for depth in range(1, len(loc)):
        if fields.is_mapping(fields.at(draft.root, loc[:depth])):
            entries = draft.get(loc[:depth])
            if isinstance(entries, dict) and entries and loc[depth] not in entries:
                return True
    return False


def apply_systematic(draft: Draft, env: Mapping[str, str]) -> None:
    """Put every ``CI_EXPORTER__…`` variable into *draft*; empty ones count as unset."""
    taken: dict[Loc, str] = {}
    # Sections before what is in them, so that the more exact name wins.
    for name in sorted(env, key=lambda known: (known.count("__"), known)):
        text = env[name].strip()
        if not name.upper().startswith(fields.PREFIX) or not text:
            continue
        try:
            loc = _locate(draft, name[len(fields.PREFIX) :].split("__"))
        except LookupError as error:
            _report(draft, name, str(error.args[0]), Layer.ENVIRONMENT)
            continue
        if loc in taken:
            _report(draft, name, f"sets the same key as {taken[loc]}: keep one of them", Layer.ENVIRONMENT)
            continue
        taken[loc] = name
        _put(draft, loc, text, Place(Layer.ENVIRONMENT, FILE, variable=name))


def _locate(draft: Draft, segments: list[str]) -> Loc:
    """The key that *segments* of a variable's name stand for; ``LookupError`` says why there is none."""
    loc: Loc = ()
    for segment in segments:
        annotation = fields.at(draft.root, loc)
        known = [key for model in fields.models(annotation) for key in fields.keys(model)]
        free = fields.is_mapping(annotation)
        if free:
            # A variable's name cannot tell big from small letters, so names in the file come first.
            known = list(draft.get(loc) or {})
        match = next((key for key in known if _fold(key) == _fold(segment)), None)
        if match is None and free and segment:
            match = segment.lower()
        if match is None:
            if not known:
                raise LookupError(f"unknown setting: nothing stands below {fields.dotted(loc)}")
            raise LookupError(unknown("setting", segment.upper(), [_fold(key).upper() for key in known]))
        loc = (*loc, match)
    return loc


def _fold(name: str) -> str:
    return name.lower().replace("-", "_")


def _put(draft: Draft, loc: Loc, value: Any, place: Place) -> None:
    faults: list[Fault] = []
    if isinstance(value, str):
        value, faults = _parse(fields.at(draft.root, loc), value)
    draft.put(loc, value, place)
    for fault in faults:
        draft.report((*loc, *fault.loc), fault.message)


def _parse(annotation: Any, text: str) -> tuple[Any, list[Fault]]:
    """*text* as the value of a key: lists and mappings are YAML, anything else is left to the key's type.

    A token that looks like a number, or begins like an alias, must arrive as it is.
    """
    if fields.takes_collection(annotation) and (text[0], text[-1]) in (("[", "]"), ("{", "}")):
        document = strict_yaml.read(text)
        return document.value, document.faults
    if text in ("null", "~") and fields.nullable(annotation):
        return None, []
    return text, []


def _report(draft: Draft, name: str, message: str, layer: Layer) -> None:
    """Note what is wrong with the variable *name* itself, before it has become a key."""
    place = Place(layer, FILE, variable=name)
    draft.findings.append(Finding((), Problem(name, message, FILE), place))
