"""The program's log: one JSON object a line, or text for people; registered secrets never come out."""

from __future__ import annotations

import contextlib
import copy
import json
import logging
import re
import threading
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Literal, TextIO
from urllib.parse import quote, quote_plus

from pythonjsonlogger.core import RESERVED_ATTRS
from pythonjsonlogger.json import JsonFormatter

from exporter.errors import ConfigError, Problem

LEVELS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}
CHATTY = ("urllib3", "requests", "apscheduler", "uvicorn", "alembic", "sqlalchemy")
"""Libraries whose own info and debug lines would bury ours, which tell what they do for us."""

HIDDEN = "<secret>"
MIN_SECRET = 4
"""Shorter ones are not looked for: they would tear up ordinary words."""

MAX_DEPTH = 8
MAX_NUMBER = 1e300
_SHORT = {"WARNING": "WARN", "CRITICAL": "ERROR"}
_OWN_FIELDS = frozenset({*RESERVED_ATTRS, "message", "asctime", "taskName", "color_message"})


class _Secrets:
    """The texts that must not come out, as one pattern that readers take without a lock."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: frozenset[str] = frozenset()
        self._pattern: re.Pattern[str] | None = None

    def add(self, value: str) -> None:
        forms = {form for form in _spellings(value) if len(form) >= MIN_SECRET}
        with self._lock:
            self._known |= forms
            # The longest first: a secret may begin like another one.
            ordered = sorted(self._known, key=lambda form: (-len(form), form))
            self._pattern = re.compile("|".join(map(re.escape, ordered))) if ordered else None

    def hide(self, text: str) -> str:
        pattern = self._pattern
        return pattern.sub(HIDDEN, text) if pattern else text


def _spellings(value: str) -> set[str]:
    """*value* and the ways in which libraries write it down: in URLs, in ``repr`` and in JSON."""
    if len(value) < MIN_SECRET:
        return set()
    encoded = {encode(value, safe=safe) for encode in (quote, quote_plus) for safe in ("", "/")}
    lower = {re.sub(r"%[0-9A-F]{2}", lambda found: found.group().lower(), text) for text in encoded}
    escaped = {repr(value)[1:-1], json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1]}
    return {value, *encoded, *lower, *escaped}


_secrets = _Secrets()


def register_secret(value: str) -> None:
    """From now on *value* is logged as ``<secret>``, also URL-encoded; texts under 4 characters are not."""
    _secrets.add(value)


def redact(value: Any, depth: int = 0) -> Any:
    """*value* with every registered secret in it replaced; what is no plain JSON value becomes text."""
    if depth > MAX_DEPTH:  # something that holds itself, most likely
        return _secrets.hide(_text(value))
    if isinstance(value, str):
        return _secrets.hide(value)
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, Mapping):
        return {redact(_text(key)): redact(inner, depth + 1) for key, inner in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [redact(inner, depth + 1) for inner in value]
    text = _text(value)
    hidden = _secrets.hide(text)
    # JSON has no NaN, and Python refuses to write integers of thousands of digits.
    number = isinstance(value, (int, float)) and abs(value) < MAX_NUMBER
    return value if number and hidden == text else hidden


def _text(value: Any) -> str:
    try:
        return str(value)
    except Exception:  # noqa: BLE001 - a log line must not fail for what it tells of
        return f"<{type(value).__name__} without a text>"


class RedactingFilter(logging.Filter):
    """Hides secrets in a record: message, arguments, extra fields, exception and stack."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = redact(_message(record)), None
        if record.exc_info and not record.exc_text:
            record.exc_text = logging.Formatter().formatException(record.exc_info)
        # Formatters would render it once more from the exception itself.
        record.exc_info = None
        record.exc_text = redact(record.exc_text)
        record.stack_info = redact(record.stack_info)
        for name in _extra(record):
            record.__dict__[name] = redact(record.__dict__[name])
        return True


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except Exception:  # noqa: BLE001 - a wrong %-format is no reason to lose the event
        return f"{_text(record.msg)} {_text(record.args)}"


def _extra(record: logging.LogRecord) -> list[str]:
    return [name for name in record.__dict__ if name not in _OWN_FIELDS and not name.startswith("_")]


def _timestamp(record: logging.LogRecord) -> str:
    moment = datetime.fromtimestamp(record.created, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


class _Json(JsonFormatter):
    """One JSON object a line: timestamp, level, logger, message, then the extra fields."""

    def add_fields(
        self, log_data: dict[str, Any], record: logging.LogRecord, message_dict: dict[str, Any]
    ) -> None:
        log_data["timestamp"] = _timestamp(record)
        log_data["level"] = record.levelname.lower()
        log_data["logger"] = record.name
        log_data["message"] = record.getMessage()
        for name in _extra(record):
            # Never over the four above: readers of the log rely on them.
            log_data[f"extra_{name}" if name in log_data else name] = record.__dict__[name]
        log_data.update(message_dict)


class _Text(logging.Formatter):
    """``2026-11-21T10:00:00.123Z INFO  event key=value``, an exception on the lines below."""

    def format(self, record: logging.LogRecord) -> str:
        level = _SHORT.get(record.levelname, record.levelname)
        parts = [f"{_timestamp(record)} {level:<5} {_one_line(record.getMessage())}"]
        parts += [f"{name}={_quoted(record.__dict__[name])}" for name in _extra(record)]
        below = [_lines(text) for text in (record.exc_text, record.stack_info) if text]
        return "\n".join([" ".join(parts), *below])


def _one_line(text: str) -> str:
    """*text* without control characters: what a server answered must not forge a second log line."""
    return re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]", lambda found: repr(found.group())[1:-1], text)


def _lines(text: str) -> str:
    return "\n".join(_one_line(line) for line in text.split("\n"))


def _quoted(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    plain = text and not re.search(r"[\s\"=\\\x00-\x1f\x7f-\x9f]", text)
    return text if plain or not isinstance(value, str) else _one_line(json.dumps(text, ensure_ascii=False))


class _Handler(logging.StreamHandler[TextIO]):
    """Writes redacted copies of records; a reader that went away does not disturb the program."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self._redacting = RedactingFilter()

    def format(self, record: logging.LogRecord) -> str:
        # A copy: other handlers (a test's, say) still want the exception itself.
        record = copy.copy(record)
        self._redacting.filter(record)
        return super().format(record)

    def emit(self, record: logging.LogRecord) -> None:
        text = self._line(record) + self.terminator
        with contextlib.suppress(OSError, ValueError):  # broken or closed: nowhere is left to say so
            try:
                self.stream.write(text)
            except UnicodeEncodeError:
                self.stream.write(text.encode("ascii", "backslashreplace").decode("ascii"))
            self.flush()

    def _line(self, record: logging.LogRecord) -> str:
        try:
            return self.format(record)
        except Exception:  # noqa: BLE001 - nothing that is logged may stop who logs it
            # Not logging's own way out, which prints the record as it came, secrets included.
            return json.dumps({"level": "error", "message": f"a log record of {record.name} was lost"})

    def flush(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            super().flush()


def configure(level: str, format: Literal["json", "text"], stream: TextIO) -> None:
    """Send everything that is logged to *stream*; calling it again replaces what it set before.

    Raises:
        ConfigError: *level* or *format* is none of those allowed.
    """
    if format not in ("json", "text"):
        raise ConfigError([Problem("log.format", "must be one of: json, text")])
    handler = _Handler(stream)
    handler.setFormatter(_Json(json_default=_text) if format == "json" else _Text())
    number = _number(level)
    root = logging.getLogger()
    for known in [known for known in root.handlers if isinstance(known, _Handler)]:
        root.removeHandler(known)
    root.addHandler(handler)
    logging.captureWarnings(True)
    _apply(number)


def set_level(level: str) -> None:
    """Change the least level that is logged, at once and for every logger.

    Raises:
        ConfigError: *level* is none of those allowed, which it lists.
    """
    _apply(_number(level))


def current_level() -> str:
    """The least level that is logged, in our words."""
    number = logging.getLogger().level
    return next((name for name, known in LEVELS.items() if known >= number), "error")


def _number(level: str) -> int:
    word = level.strip().lower()
    number = LEVELS.get("warning" if word == "warn" else word)
    if number is None:
        raise ConfigError([Problem("log.level", f"must be one of: {', '.join(LEVELS)}")])
    return number


def _apply(number: int) -> None:
    logging.getLogger().setLevel(number)
    for name in CHATTY:
        logging.getLogger(name).setLevel(max(number, logging.WARNING))
