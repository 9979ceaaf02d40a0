"""The entries of a JSON list as they were sent, for who hands them on unchanged; knows no vendor."""

from __future__ import annotations

import json
import re

_BLANKS = re.compile(r"[ \t\n\r]*")


def elements(raw: bytes) -> list[bytes]:
    """The text of each element of the JSON list *raw*, in UTF-8: order of keys, numbers and escapes as sent.

    *raw* must have been parsed before: it is taken for a list without looking.
    """
    # As json.loads reads bytes; of UTF-8, what comes back is the very same bytes.
    text = raw.decode(json.detect_encoding(raw), "surrogatepass")
    decode = json.JSONDecoder().raw_decode
    found: list[bytes] = []
    at = _skip(text, text.index("[") + 1)
    while text[at] != "]":
        end = decode(text, at)[1]
        found.append(text[at:end].encode("utf-8", "surrogatepass"))
        at = _skip(text, end)
        if text[at] == ",":
            at = _skip(text, at + 1)
    return found


def _skip(text: str, at: int) -> int:
    """Where *text* goes on behind blanks."""
    match = _BLANKS.match(text, at)
    return match.end() if match else at
