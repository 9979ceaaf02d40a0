"""Plain text that a service reads as Markdown shows as it was written."""

from __future__ import annotations

import re

import pytest
from markdown_it import MarkdownIt

from exporter.sinks.alerts.markdown import markdown, unmentioned

TEXTS = [
    "fix *this* and _that_, **now** __please__",
    "[click](http://evil.example/x)",
    "![image](http://evil.example/x.png)",
    "<b>bold</b> <script>alert(1)</script>",
    "# no heading",
    "> no quotation",
    "- no list",
    "12. no list",
    "3) no list",
    "===",
    "`code` and ~~gone~~ and \\ and \\*",
    "snake_case_names and 2*3*4",
]


@pytest.mark.parametrize("text", TEXTS)
def test_text_is_shown_as_it_is(text: str) -> None:
    tokens = MarkdownIt("commonmark").enable("strikethrough").parse(markdown(text))
    shown = "".join(
        child.content
        for token in tokens
        for child in token.children or ()
        if child.type in ("text", "text_special")
    )
    kinds = {child.type for token in tokens for child in token.children or ()}
    assert shown == text
    assert {token.tag for token in tokens} <= {"p", ""}
    assert kinds <= {"text", "link_open", "link_close"}


def test_an_address_becomes_a_link_to_itself() -> None:
    url = "https://host/a_b_c/(x)?y=1&z=2"
    (_, inline, _) = MarkdownIt("commonmark").parse(markdown(f"see {url}, or not."))
    assert inline.children is not None
    before, link, shown, _, after = [child for child in inline.children if child.type != "text_special"]
    assert (before.content, after.content) == ("see ", ", or not.")
    assert link.attrs["href"] == url.replace("(", "%28").replace(")", "%29")
    assert shown.content == url


def test_lines_stay_lines() -> None:
    assert MarkdownIt("commonmark").render(markdown("one\ntwo\n\nthree")).count("<p>") == 3


def test_text_of_strangers_calls_nobody() -> None:
    text = 'ask @all, a@b.org <at user_id="all"></at> https://host/@here/1'
    harmless = unmentioned(text)
    assert not re.search(r"@\w|<at\b", harmless)
    assert harmless.endswith("https://host/%40here/1")
    assert harmless.replace("\u2060", "").replace("%40", "@") == text
