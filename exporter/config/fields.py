"""What the annotations of a pydantic model say about a place in the configuration."""

from __future__ import annotations

import re
import types
from collections.abc import Iterator, Mapping, Sequence, Set
from pathlib import PurePath
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, SecretBytes, SecretStr
from pydantic.fields import FieldInfo

Loc = tuple[str | int, ...]
"""Where in the configuration: keys and list indexes from the top."""


PREFIX = "CI_EXPORTER__"
"""What the environment variables begin with that are named after the keys themselves."""


def dotted(loc: Loc) -> str:
    """*loc* as people write it: ``collectors.source.groups.0.path``.

    A key is cut at a colon: in ``{token:hunter2}``, where a blank is missing, the rest is a value.
    """
    return ".".join(re.sub(r"([:=]).+", r"\1…", str(step), flags=re.DOTALL) for step in loc)


def variable(loc: Loc) -> str | None:
    """The environment variable that sets the key at *loc*; ``None`` in a list or below an odd name."""
    if not all(isinstance(step, str) and re.fullmatch(r"[A-Za-z0-9_-]+", step) for step in loc):
        return None
    return PREFIX + "__".join(str(step).replace("-", "_").upper() for step in loc)


def members(annotation: Any) -> list[Any]:
    """The alternatives that *annotation* allows, with unions, ``Annotated`` and aliases taken apart."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return members(get_args(annotation)[0])
    if origin is Union or origin is types.UnionType:
        return [member for part in get_args(annotation) for member in members(part)]
    if hasattr(annotation, "__value__"):  # ``type X = …``
        return members(annotation.__value__)
    return [annotation]


def models(annotation: Any) -> list[type[BaseModel]]:
    """The pydantic models among the alternatives of *annotation*."""
    return [member for member in members(annotation) if _is_class(member, BaseModel)]


def keys(model: type[BaseModel]) -> dict[str, FieldInfo]:
    """The keys that may be written for *model*, in the order of its declaration."""
    return {info.alias or name: info for name, info in model.model_fields.items()}


def nullable(annotation: Any) -> bool:
    """Whether ``null`` may be written."""
    return any(member is None or member is type(None) for member in members(annotation))


def takes_text(annotation: Any) -> bool:
    """Whether a plain string is a value in its own right, so that an empty one means an empty text."""
    return any(
        member is str or member is Any or get_origin(member) is Literal for member in members(annotation)
    )


def takes_collection(annotation: Any) -> bool:
    """Whether a list or a mapping may be written."""
    return any(
        _is_class(member, BaseModel) or _is_class(_class(member), Mapping) or _is_list(member)
        for member in members(annotation)
    )


def is_secret(annotation: Any) -> bool:
    """Whether the value must never be shown."""
    return any(_is_class(member, (SecretStr, SecretBytes)) for member in members(annotation))


def is_path(annotation: Any) -> bool:
    """Whether the value names a file or folder."""
    return any(_is_class(member, PurePath) for member in members(annotation))


def is_mapping(annotation: Any) -> bool:
    """Whether the keys are free, unlike those of a model."""
    return any(_is_class(_class(member), Mapping) for member in members(annotation))


def child(annotation: Any, step: str | int) -> Any:
    """The annotation one *step* below, ``None`` where nothing may stand."""
    for member in members(annotation):
        if _is_class(member, BaseModel):
            info = keys(member).get(str(step))
            if info is not None:
                return info.annotation
        elif _is_class(_class(member), Mapping):
            return (get_args(member) or (Any, Any))[1]
        elif isinstance(step, int) and _is_list(member):
            return (get_args(member) or (Any,))[0]
    return None


def at(annotation: Any, loc: Loc) -> Any:
    """The annotation at *loc* below *annotation*, ``None`` where nothing may stand."""
    for step in loc:
        annotation = None if annotation is None else child(annotation, step)
    return annotation


def visit(annotation: Any, value: Any, loc: Loc = ()) -> Iterator[tuple[Loc, Any, Any]]:
    """``(loc, annotation, value)`` of *value* and everything in it that has a declared place."""
    yield loc, annotation, value
    if isinstance(value, dict):
        steps: list[tuple[str | int, Any]] = list(value.items())
    else:
        steps = list(enumerate(value)) if isinstance(value, list) else []
    for step, inner in steps:
        below = child(annotation, step)
        if below is not None:
            yield from visit(below, inner, (*loc, step))


def secrets(model: type[BaseModel]) -> list[str]:
    """The keys of *model* that hold a secret."""
    return [key for key, info in keys(model).items() if is_secret(info.annotation)]


def secrets_with_file(annotation: Any) -> list[str]:
    """The secret keys that have a sibling ``…_file``, in all models of *annotation*."""
    return [key for model in models(annotation) for key in secrets(model) if f"{key}_file" in keys(model)]


def beside_secret(annotation: Any, loc: Loc) -> bool:
    """Whether the value at *loc* is, lies in, should hold, or stands in one block with a secret."""
    near = False
    for step in loc:
        found = models(annotation)
        if found:
            near = any(secrets(model) for model in found)
        annotation = child(annotation, step)
        if annotation is None or is_secret(annotation):
            return True
    return near or _holds_secret(annotation, set())


def _holds_secret(annotation: Any, seen: set[type[BaseModel]]) -> bool:
    for model in models(annotation):
        if model not in seen:
            seen.add(model)
            inner = [info.annotation for info in keys(model).values()]
            if any(is_secret(item) or _holds_secret(item, seen) for item in inner):
                return True
    entries = [child(annotation, step) for step in ("", 0)]
    return any(is_secret(entry) or _holds_secret(entry, seen) for entry in entries if entry is not None)


def outside_secret(annotation: Any, loc: Loc) -> Loc:
    """*loc*, cut at the secret that it leads into: keys written there are part of the secret."""
    for depth, step in enumerate(loc, 1):
        annotation = child(annotation, step)
        if annotation is None:
            break
        if is_secret(annotation):
            return loc[:depth]
    return loc


def _is_list(annotation: Any) -> bool:
    found = _class(annotation)
    return _is_class(found, (Sequence, Set)) and not _is_class(found, (str, bytes))


def _class(annotation: Any) -> Any:
    return get_origin(annotation) or annotation


def _is_class(annotation: Any, wanted: type | tuple[type, ...]) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, wanted)
