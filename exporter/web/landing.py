"""The page at ``/``: one small document, rendered here, that needs no script and no second request."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from html import escape

_STYLE = (
    ":root{color-scheme:light dark;font:16px/1.5 system-ui,sans-serif}"
    "body{max-width:50rem;margin:2rem auto;padding:0 1rem}"
    "h1 small{font-weight:normal;opacity:.7}"
    "table{border-collapse:collapse}"
    "th,td{text-align:left;padding:.25rem 1.5rem .25rem 0;border-bottom:1px solid #8886}"
)
_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()

CONTENT_SECURITY_POLICY = (
    f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


@dataclass(frozen=True, slots=True)
class LandingPage:
    """What the page says.

    ``links`` are (href, text); ``collectors`` are (name, last success, state in words), the last
    success being ``None`` until there was one.
    """

    name: str
    version: str
    description: str
    links: Sequence[tuple[str, str]] = field(default_factory=tuple)
    collectors: Sequence[tuple[str, datetime | None, str]] = field(default_factory=tuple)


def render_landing(page: LandingPage) -> str:
    """*page* as HTML."""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(page.name)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        f"<h1>{escape(page.name)} <small>{escape(page.version)}</small></h1>\n"
        f"<p>{escape(page.description)}</p>\n"
        f"{_links(page.links)}{_collectors(page.collectors)}</body>\n</html>\n"
    )


def _links(links: Sequence[tuple[str, str]]) -> str:
    if not links:
        return ""
    items = "".join(f'<li><a href="{escape(href)}">{escape(text)}</a></li>\n' for href, text in links)
    return f"<ul>\n{items}</ul>\n"


def _collectors(collectors: Sequence[tuple[str, datetime | None, str]]) -> str:
    if not collectors:
        return ""
    rows = "".join(
        f"<tr><td>{escape(name)}</td><td>{_instant(success)}</td><td>{escape(state)}</td></tr>\n"
        for name, success, state in collectors
    )
    return f"<table>\n<tr><th>Collector</th><th>Last success</th><th>State</th></tr>\n{rows}</table>\n"


def _instant(instant: datetime | None) -> str:
    if instant is None:
        return "never"
    utc = instant.astimezone(UTC)
    return f'<time datetime="{utc:%Y-%m-%dT%H:%M:%SZ}">{utc:%Y-%m-%d %H:%M:%S} UTC</time>'
