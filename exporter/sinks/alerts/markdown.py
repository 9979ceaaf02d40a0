"""Plain text as Markdown that shows it as it is, links apart."""

from __future__ import annotations

import re

_URL = re.compile(r"(https?://[^\s<>\"'`\\^{}|]*[^\s<>\"'`\\^{}|.,;:!?)\]*_~])")
_ANYWHERE = re.compile(r"[\\`*\[\]<~]|(?<![^\W_])_|_(?![^\W_])")
_MENTION = re.compile(r"@|<(?=at\b)", re.IGNORECASE)  # the second is Feishu's
_AT_BEGIN = re.compile(r"^(\s*)([#>+=-]|\d+(?=[.)]))", re.MULTILINE)


def unmentioned(text: str) -> str:
    """*text* that calls nobody in a chat: ``@all`` in a commit's title is no reason to wake everybody.

    It looks the same. An invisible character parts the sign from the name; in an address it is escaped.
    """
    pieces = _URL.split(text)
    pieces[::2] = [_MENTION.sub(lambda found: f"{found.group()}\u2060", piece) for piece in pieces[::2]]
    pieces[1::2] = [url.replace("@", "%40") for url in pieces[1::2]]
    return "".join(pieces)


def markdown(text: str) -> str:
    """*text* as Markdown: what would be markup is escaped, addresses become links, lines stay lines."""
    pieces = _URL.split(text)
    pieces[::2] = [_escaped(piece) for piece in pieces[::2]]
    pieces[1::2] = [_link(url) for url in pieces[1::2]]
    # A single line break is a blank in Markdown.
    return re.sub(r"\n+", "\n\n", _AT_BEGIN.sub(_escaped_begin, "".join(pieces)))


def _escaped(text: str) -> str:
    return _ANYWHERE.sub(lambda found: f"\\{found.group()}", text)


def _escaped_begin(found: re.Match[str]) -> str:
    blanks, sign = found.groups()
    return f"{blanks}{sign}\\" if sign.isdigit() else f"{blanks}\\{sign}"


def _link(url: str) -> str:
    return f"[{_escaped(url)}]({url.replace('(', '%28').replace(')', '%29')})"
