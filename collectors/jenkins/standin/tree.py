"""The parameter ``tree`` of Jenkins' remote API: what it says, and what is left of an object by it.

Source: stapler, org/kohsuke/stapler/export/NamedPathPruner.java and Property.java.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

Bean = dict[str, Any]
_TOKEN = re.compile(r"[\[\]{},]|[^\[\]{},]+")
_LINKS = ("name", "url", "number", "color", "fullName", "displayName")


class BadTree(ValueError):
    """A tree that is none; Jenkins answers 500."""


class Table(dict[str, Any]):
    """Values by a name that is no property: a tree selects none of them, but properties of each."""


@dataclass(slots=True)
class Tree:
    """Which properties of an object are wanted, and which part of a list."""

    children: dict[str, Tree] = field(default_factory=dict)
    first: int = 0
    end: int | None = None


class _Parser:
    """Reads names with what is in brackets behind them, and ranges in braces."""

    def __init__(self, spec: str) -> None:
        self._tokens = _TOKEN.findall(spec)
        self._place = 0

    def parse(self) -> Tree:
        tree = Tree()
        self._list(tree)
        if self._peek():
            raise BadTree(f"expected the end at {self._peek()}")
        return tree

    def _peek(self) -> str:
        return self._tokens[self._place] if self._place < len(self._tokens) else ""

    def _accept(self, token: str) -> bool:
        found = self._peek() == token
        self._place += found
        return found

    def _expect(self, token: str) -> None:
        if not self._accept(token):
            raise BadTree(f"expected {token}")

    def _list(self, tree: Tree) -> None:
        self._node(tree)
        while self._accept(","):
            self._node(tree)

    def _node(self, tree: Tree) -> None:
        name = self._peek()
        if not name or name in "[]{},":
            raise BadTree("expected a name")
        self._place += 1
        below = tree.children[name] = Tree()
        if self._accept("["):
            self._list(below)
            self._expect("]")
        if self._accept("{"):
            self._range(below)
            self._expect("}")

    def _range(self, tree: Tree) -> None:
        """``{M,N}``, ``{M,}``, ``{,N}``, or ``{N}`` for one element."""
        if self._accept(","):
            tree.end = self._number()
            return
        tree.first = self._number()
        if self._peek() == "}":
            tree.end = tree.first + 1
            return
        self._expect(",")
        if self._peek() != "}":
            tree.end = self._number()

    def _number(self) -> int:
        token = self._peek()
        if not re.fullmatch(r"[0-9]+", token):
            raise BadTree("expected a number")
        self._place += 1
        return int(token)


def parse(spec: str) -> Tree:
    """The tree that *spec* describes.

    Raises:
        BadTree: it describes none.
    """
    return _Parser(spec).parse()


def prune(value: Any, tree: Tree) -> Any:
    """*value* with the wanted properties alone; those that it does not have are left out."""
    if isinstance(value, Callable):  # type: ignore[arg-type]
        value = value()
    if isinstance(value, list):
        return [prune(one, tree) for one in value[tree.first : tree.end]]
    if not isinstance(value, dict):
        return value
    if isinstance(value, Table):
        return {name: prune(inner, tree) for name, inner in value.items()}
    kept = {"_class": value["_class"]} if "_class" in value else {}
    for name, inner in value.items():
        below = tree.children.get(name) or tree.children.get("*")
        if name != "_class" and below is not None:
            kept[name] = prune(inner, below)
    return kept


def shallow(bean: Bean) -> Bean:
    """What is shown without a tree: the object's own values, and of others what leads to them."""
    links = Tree({name: Tree() for name in _LINKS})
    return {name: value if name == "_class" else prune(value, links) for name, value in bean.items()}
