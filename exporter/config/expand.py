"""``${NAME}`` inside values: replaced once, from the environment, never in what a replacement brought."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from exporter.config.fields import Loc

_REFERENCE = re.compile(
    r"\$\$ | \$\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?P<fallback>:-(?P<default>[^}]*))?\} | (?P<bad>\$\{)",
    re.VERBOSE,
)


def expand(text: str, env: Mapping[str, str]) -> tuple[str, list[str]]:
    """*text* with its references replaced, and what is wrong with them, in plain sentences.

    ``${NAME:-default}`` takes the default when the variable is unset or empty, as in a shell. ``$$`` is one
    dollar sign; any other dollar stands for itself, so that regular expressions need no care.
    """
    faults: list[str] = []

    def replacement(found: re.Match[str]) -> str:
        name = found["name"]
        if found["bad"]:
            faults.append("${ begins no ${NAME} or ${NAME:-default}; write $${ for the text itself")
            return found.group()
        if name is None:
            return "$"
        if found["fallback"] is not None:
            return env.get(name) or found["default"]
        if name not in env:
            faults.append(
                f"the environment variable {name} is not set; ${{{name}:-default}} would allow that"
            )
            return found.group()
        return env[name]

    return _REFERENCE.sub(replacement, text), faults


def expand_all(value: Any, env: Mapping[str, str], faults: list[tuple[Loc, str]], loc: Loc = ()) -> Any:
    """A copy of *value* with every string in it expanded; keys stay as they are. *faults* is added to."""
    if isinstance(value, dict):
        return {key: expand_all(inner, env, faults, (*loc, key)) for key, inner in value.items()}
    if isinstance(value, list):
        return [expand_all(inner, env, faults, (*loc, index)) for index, inner in enumerate(value)]
    if not isinstance(value, str):
        return value
    text, wrong = expand(value, env)
    faults.extend((loc, message) for message in wrong)
    return text
