"""What pydantic found, in plain sentences that never show a secret."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from exporter.config import fields
from exporter.config.draft import Draft
from exporter.config.fields import Loc

SHOWN = 60
"""Longer values are not repeated in a message."""

_SENTENCES = {
    "string_type": "must be text",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_parsing_size": "must be a whole number of usual size",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "finite_number": "must be a finite number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "list_type": "must be a list, such as [a, b]",
    "tuple_type": "must be a list, such as [a, b]",
    "set_type": "must be a list, such as [a, b]",
    "frozen_set_type": "must be a list, such as [a, b]",
    "dict_type": "must be a mapping (key: value)",
    "model_type": "must be a mapping (key: value)",
    "model_attributes_type": "must be a mapping (key: value)",
    "mapping_type": "must be a mapping (key: value)",
    "path_type": "must be the path of a file",
    "none_required": "must be null",
    "greater_than": "must be greater than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be at most {le}",
    "multiple_of": "must be a multiple of {multiple_of}",
    "string_too_short": "must have at least {min_length} characters",
    "string_too_long": "must have at most {max_length} characters",
    "string_pattern_mismatch": "must match the pattern {pattern}",
    "too_short": "must have at least {min_length} in the list",
    "too_long": "must have at most {max_length} in the list",
    "literal_error": "must be one of: {allowed}",
    "enum": "must be one of: {allowed}",
    "union_tag_invalid": "{discriminator} must be one of: {expected_tags}",
    "union_tag_not_found": "needs a key {discriminator} that says what it is",
}
_WRITTEN_BY_US = ("value_error", "assertion_error")


def unknown(kind: str, name: str, allowed: Sequence[str]) -> str:
    """That *name* is no known *kind*, what may have been meant, and what is allowed."""
    close = difflib.get_close_matches(name, allowed, n=1)
    hint = f"; did you mean {close[0]}?" if close else "."
    return f"unknown {kind}{hint} Allowed here: {', '.join(allowed) or 'nothing'}"


def report_errors(
    draft: Draft, errors: Sequence[ErrorDetails], prefix: Loc = (), *, soft: bool = False
) -> None:
    """Add what pydantic says of the values at *prefix* to the findings of *draft*."""
    located = [(error, *_real(draft, prefix, error)) for error in errors]
    deepest = {loc[:depth] for _, loc, _ in located for depth in range(len(loc))}
    told: dict[Loc, list[str]] = {}
    missing = {loc for error, loc, _ in located if error["type"] == "missing"}
    for error, loc, alternative in located:
        # Of the alternatives of a union, the one that went deeper is the one that was meant; and a
        # collection with bad entries looks shorter than it is.
        hollow = loc in deepest and (alternative or error["type"] == "too_short")
        if hollow or (draft.reported(loc) and error["type"] != "extra_forbidden"):
            continue
        sentence = _sentence(draft, error, loc)
        if sentence not in told.setdefault(loc, []):
            told[loc].append(sentence)
    for loc, sentences in told.items():
        draft.report(loc, _joined(draft, loc, sentences), soft=soft, missing=loc in missing)


def _real(draft: Draft, prefix: Loc, error: ErrorDetails) -> tuple[Loc, bool]:
    """Where the error is in the data, and whether pydantic named an alternative of a union on the way."""
    loc, alternative = prefix, False
    last = len(error["loc"]) - 1
    for index, step in enumerate(error["loc"]):
        value = draft.get(loc)
        if isinstance(value, dict):
            there = step in value or (error["type"] == "missing" and index == last)
        else:
            there = isinstance(value, list) and isinstance(step, int)
        if there:
            loc = (*loc, step)
        else:
            alternative = True
    return loc, alternative


def _sentence(draft: Draft, error: ErrorDetails, loc: Loc) -> str:
    kind, context = error["type"], error.get("ctx", {})
    if kind == "extra_forbidden":
        return _unknown_key(draft, loc)
    if kind == "missing":
        name = fields.variable(loc)
        return f"is required (or set {name} in the environment)" if name else "is required"
    if kind in _WRITTEN_BY_US:
        return _authored(draft, str(context.get("error", "")), loc)
    if kind in _SENTENCES:
        return _SENTENCES[kind].format_map({**_whole(context), "allowed": _allowed(context)})
    if fields.beside_secret(draft.root, loc):
        return "is not valid"
    return re.sub(r"^(Input|Value) should ", "must ", error["msg"])


def _joined(draft: Draft, loc: Loc, sentences: list[str]) -> str:
    value = draft.get(loc)
    text = " or ".join([sentences[0], *(sentence.removeprefix("must be ") for sentence in sentences[1:])])
    if sentences == ["must be text"] and isinstance(value, (bool, int, float)):
        text += ": put it in quotes"
    return text + _shown(draft, loc, value) if text.startswith("must ") else text


def _shown(draft: Draft, loc: Loc, value: Any) -> str:
    """``(got …)`` with the value that was written, where that helps and nothing secret is near."""
    if fields.beside_secret(draft.root, loc) or not isinstance(value, (bool, int, float, str)):
        return ""
    text = str(value).lower() if isinstance(value, bool) else repr(value)
    return f" (got {text})" if len(text) <= SHOWN else ""


def _whole(context: dict[str, Any]) -> dict[str, Any]:
    """*context* with ``1.0`` as ``1``: a limit is told as people write it."""
    return {
        name: int(value) if isinstance(value, float) and value.is_integer() else value
        for name, value in context.items()
    }


def _allowed(context: dict[str, Any]) -> str:
    expected = str(context.get("expected", ""))
    return ", ".join(re.findall(r"'([^']*)'", expected)) or expected.replace(" or ", ", ")


def _authored(draft: Draft, text: str, loc: Loc) -> str:
    """The words of a validator, less the value they were said about when that may be secret."""
    value = draft.get(loc)
    if isinstance(value, str) and len(value) >= 4 and fields.beside_secret(draft.root, loc):
        text = text.replace(value, "the value")
    return text or "is not valid"


def _unknown_key(draft: Draft, loc: Loc) -> str:
    if re.search("[:=]", str(loc[-1])):
        return "unknown key: between a key and its value there must be a colon and a blank"
    meant = _meant(fields.models(fields.at(draft.root, loc[:-1])), draft.get(loc[:-1]))
    allowed = list(dict.fromkeys(key for model in meant for key in fields.keys(model)))
    return unknown("collector" if loc[:-1] == ("collectors",) else "key", str(loc[-1]), allowed)


def _meant(models: list[type[BaseModel]], block: Any) -> list[type[BaseModel]]:
    """Those of *models* that the words in *block* which tell them apart allow; all of them if none fits."""
    fitting = [
        model
        for model in models
        if isinstance(block, dict)
        and all(
            block.get(key) in get_args(info.annotation)
            for key, info in fields.keys(model).items()
            if info.is_required() and get_origin(info.annotation) is Literal
        )
    ]
    return fitting or models
