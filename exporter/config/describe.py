"""The list of every key that may be written, for documentation and for the tests that hold it true."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import Enum
from typing import Any, Literal, NamedTuple, get_args, get_origin

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from exporter.config import fields
from exporter.config.schema import root_model
from exporter.config.secrets import redact
from exporter.contract import CollectorConfig

_WORDS = {bool: "true or false", int: "whole number", float: "number", str: "text"}


class Described(NamedTuple):
    """One key: dotted, with ``<name>`` for a free name and ``[]`` for each entry of a list.

    ``default`` is as it would be printed; ``required`` tells a missing default from a default of ``None``.
    """

    key: str
    type: str
    default: Any
    description: str
    required: bool


def describe_schema(models: Mapping[str, type[CollectorConfig]] | None = None) -> Iterator[Described]:
    """Every key that holds a value, in the order of declaration, with those of the collectors *models*."""
    yield from _describe(root_model(models or {}), "")


def _describe(annotation: Any, prefix: str) -> Iterator[Described]:
    for model in fields.models(annotation):
        for key, info in fields.keys(model).items():
            yield from _describe_field(f"{prefix}{key}", info)


def _describe_field(key: str, info: FieldInfo) -> Iterator[Described]:
    nested, suffix = _nested(info.annotation)
    if fields.models(info.annotation):
        yield from _describe(info.annotation, f"{key}.")
        return
    default = info.get_default(call_default_factory=True, validated_data={})
    required = default is PydanticUndefined
    words = type_words(info.annotation)
    yield Described(key, words, None if required else redact(default), info.description or "", required)
    if nested is not None:
        yield from _describe(nested, f"{key}{suffix}.")


def _nested(annotation: Any) -> tuple[Any, str]:
    """What the entries of a list or mapping are, and how a key tells of them; ``None`` where no block is."""
    for step, suffix in (("", ".<name>"), (0, "[]")):
        inner = fields.child(annotation, step)
        if fields.models(inner):
            return inner, suffix
    return None, ""


def type_words(annotation: Any) -> str:
    """What may be written for *annotation*, in words."""
    words = [_word(member) for member in fields.members(annotation) if member not in (None, type(None))]
    return " or ".join(dict.fromkeys(words)) + (" or null" if fields.nullable(annotation) else "")


def _word(member: Any) -> str:
    if get_origin(member) is Literal:
        return "one of " + ", ".join(str(value) for value in get_args(member))
    if isinstance(member, type) and issubclass(member, Enum):
        return "one of " + ", ".join(str(item.value) for item in member)
    if fields.is_secret(member):
        return "secret"
    if fields.is_path(member):
        return "path"
    if fields.models(member) or fields.is_mapping(member):
        return "mapping"
    if fields.takes_collection(member):
        return f"list of {type_words(fields.child(member, 0))}"
    return _WORDS.get(member, "value")
