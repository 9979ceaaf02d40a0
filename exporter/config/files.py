"""Reading a small text file of the operator's, with every way it can fail put into words."""

from __future__ import annotations

from pathlib import Path


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
    raw = _read(path, limit)
    if len(raw) > limit:
        raise Unreadable(f"the file is larger than {limit} bytes")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Unreadable("the file is not UTF-8 text", raw.count(b"\n", 0, error.start) + 1) from None


def _read(path: Path, limit: int) -> bytes:
    try:
        with path.open("rb") as file:
            # One byte more than allowed tells a large file without reading all of it: it may be endless.
            return file.read(limit + 1)
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
