"""Reading a small text file of the operator's, with every way it can fail put into words."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


class Unreadable(Exception):
    """Why a file cannot be used; never holds its content. ``line`` is where, if anywhere."""

    def __init__(self, message: str, line: int | None = None) -> None:
        super().__init__(message)
        self.line = line


def read_text(path: Path, limit: int) -> str:
    """The content of *path*, a byte order mark taken off; at most *limit* bytes.

    Raises:
        Unreadable: it is missing, not a file, forbidden, too large or not UTF-8.
    """
    with reading(), path.open("rb") as file:
        return as_text(within(file, limit))


def within(file: BinaryIO, limit: int) -> bytes:
    """The content of *file*, if it is at most *limit* bytes."""
    # One byte more than allowed tells a large file without reading all of it: it may be endless.
    raw = file.read(limit + 1)
    if len(raw) > limit:
        raise Unreadable(f"the file is larger than {limit} bytes")
    return raw


def as_text(raw: bytes) -> str:
    """*raw* as text, a byte order mark taken off."""
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Unreadable("the file is not UTF-8 text", raw.count(b"\n", 0, error.start) + 1) from None


@contextmanager
def reading() -> Iterator[None]:
    """Puts into words what goes wrong inside: every failure is :class:`Unreadable`."""
    try:
        yield
    except FileNotFoundError:
        raise Unreadable("the file does not exist") from None
    except IsADirectoryError:
        raise Unreadable("this is a directory, not a file") from None
    except PermissionError:
        raise Unreadable("the file may not be read: permission denied") from None
    except OSError as error:
        raise Unreadable(f"the file cannot be read: {error.strerror or 'input/output error'}") from None
    except ValueError:
        raise Unreadable("this is not a file name") from None
