"""The log: what a line looks like, what never comes out, and that logging never hurts the program."""

import io
import json
import logging
import threading
import warnings

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter import logs
from exporter.errors import ConfigError


@pytest.fixture(autouse=True)
def _clean(monkeypatch):
    monkeypatch.setattr(logs, "_secrets", logs._Secrets())
    root = logging.getLogger()
    level, names = root.level, {name: logging.getLogger(name).level for name in logs.CHATTY}
    yield
    for handler in [handler for handler in root.handlers if isinstance(handler, logs._Handler)]:
        root.removeHandler(handler)
    logging.captureWarnings(False)
    root.setLevel(level)
    for name, number in names.items():
        logging.getLogger(name).setLevel(number)


@pytest.fixture
def log(request):
    """A function that logs through a fresh configuration and returns what was written."""

    def run(format="json", level="info", **record):
        stream = io.StringIO()
        logs.configure(level, format, stream)
        values = {"name": "a.b", "level": logging.INFO, "pathname": "", "lineno": 0, "exc_info": None}
        values |= {"msg": "event", "args": ()} | record
        extra = values.pop("extra", {})
        made = logging.LogRecord(**values)
        made.created = 1795255200.123
        made.__dict__.update(extra)
        # Past pytest's own handlers, which stumble over what ours must bear.
        for handler in logging.getLogger().handlers:
            if isinstance(handler, logs._Handler):
                handler.handle(made)
        return stream.getvalue()

    return run


def _raised(error):
    try:
        raise error
    except type(error) as caught:
        return (type(caught), caught, caught.__traceback__)


def test_a_json_line_has_time_level_logger_message_and_extra_fields(log):
    line = log(msg="round %s", args=("done",), extra={"collector": "x", "runs": 3, "ok": True, "none": None})
    assert line.endswith("}\n")
    assert json.loads(line) == {
        "timestamp": "2026-11-21T10:00:00.123Z",
        "level": "info",
        "logger": "a.b",
        "message": "round done",
        "collector": "x",
        "runs": 3,
        "ok": True,
        "none": None,
    }


def test_text_is_one_line_with_quoted_fields(log):
    line = log("text", msg="round done", extra={"collector": "x", "note": 'a "b"', "n": 1, "list": [1, "a"]})
    assert (
        line == '2026-11-21T10:00:00.123Z INFO  round done collector=x note="a \\"b\\"" n=1 list=[1, "a"]\n'
    )


def test_a_warning_keeps_the_column_in_text_and_its_full_name_in_json(log):
    assert log("text", level="info").split()[1] == "INFO"
    stream = io.StringIO()
    logs.configure("info", "text", stream)
    logging.getLogger("x").warning("w")
    assert stream.getvalue()[25:] == "WARN  w\n"
    stream = io.StringIO()
    logs.configure("info", "json", stream)
    logging.getLogger("x").warning("w")
    assert json.loads(stream.getvalue())["level"] == "warning"


@pytest.mark.parametrize("format", ["json", "text"])
def test_a_message_cannot_forge_a_second_line(log, format):
    out = log(format, msg="a\n2026 ERROR b\r\x1b[0m\u2028c", extra={"field": "x\ny"})
    assert out.count("\n") == 1
    assert "\r" not in out
    assert "\x1b" not in out


def test_an_exception_is_one_json_field(log):
    line = json.loads(log(exc_info=_raised(ValueError("boom"))))
    assert set(line) == {"timestamp", "level", "logger", "message", "exc_info"}
    assert line["exc_info"].startswith("Traceback")
    assert line["exc_info"].endswith("ValueError: boom")


def test_an_exception_stands_below_the_line_in_text(log):
    lines = log("text", exc_info=_raised(ValueError("boom\x1b[0m"))).splitlines()
    assert lines[0] == "2026-11-21T10:00:00.123Z INFO  event"
    assert lines[-1] == "ValueError: boom\\x1b[0m"


def test_an_extra_field_never_replaces_level_or_logger(log):
    line = json.loads(log(extra={"timestamp": "x", "logger": "y", "level": "z"}))
    assert (line["logger"], line["level"]) == ("a.b", "info")
    assert (line["extra_timestamp"], line["extra_logger"], line["extra_level"]) == ("x", "y", "z")


@pytest.mark.parametrize("format", ["json", "text"])
def test_a_registered_secret_comes_out_nowhere(log, format):
    secret = "p/a ss&w\u00f6rd\"'9"
    logs.register_secret(secret)
    out = log(
        format,
        msg=f"with {secret} and %s %r",
        args=(secret, secret),
        exc_info=_raised(ValueError(f"bad {secret}")),
        extra={
            "url": "https://x/?t=p%2Fa%20ss%26w%C3%B6rd%22%279",
            "form": "p%2fa+ss%26w%c3%b6rd%22%279",
            "nested": {secret: [secret, (secret,)], "error": ValueError(secret)},
            "bare": secret,
        },
    )
    for form in (secret, "p%2Fa", "p%2fa", "w\\u00f6rd", "wörd", "p/a"):
        assert form not in out
    assert out.count("<secret>") >= 9


def test_a_numeric_secret_is_hidden_as_a_number_too(log):
    logs.register_secret("12345678")
    assert json.loads(log(extra={"n": 12345678, "m": 5}))["n"] == "<secret>"


def test_a_secret_that_begins_like_another_is_hidden_whole(log):
    logs.register_secret("abcd")
    logs.register_secret("abcdefgh")
    assert json.loads(log(msg="abcdefgh abcd"))["message"] == "<secret> <secret>"


def test_short_texts_are_no_secrets(log):
    logs.register_secret("abc")
    logs.register_secret("")
    assert json.loads(log(msg="abc"))["message"] == "abc"


@given(
    secret=st.text(min_size=8, alphabet=st.characters(exclude_categories=("Cs",), exclude_characters="<>"))
)
def test_no_secret_survives_in_json(secret):
    store, logs._secrets = logs._secrets, logs._Secrets()
    try:
        logs.register_secret(secret)
        stream = io.StringIO()
        handler = logs._Handler(stream)
        handler.setFormatter(logs._Json())
        record = logging.LogRecord("qq", logging.INFO, "", 0, "%s", (secret,), None)
        record.field = {"deep": f"x{secret}y"}
        handler.emit(record)
        line = json.loads(stream.getvalue())
        assert line["message"] == "<secret>"
        assert line["field"] == {"deep": "x<secret>y"}
    finally:
        logs._secrets = store


def test_registering_and_logging_from_many_threads_is_safe(log):
    def register(start):
        for number in range(start, start + 50):
            logs.register_secret(f"secret-{number:04}")

    threads = [threading.Thread(target=register, args=(start,)) for start in range(0, 200, 50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    out = log(msg=" ".join(f"secret-{number:04}" for number in range(200)))
    assert json.loads(out)["message"] == " ".join(["<secret>"] * 200)


def test_other_handlers_still_see_the_exception(caplog):
    logs.configure("info", "json", io.StringIO())
    logs.register_secret("hunter22")
    logging.getLogger("x").error("hunter22", exc_info=_raised(ValueError("boom")))
    assert caplog.records[0].exc_info[0] is ValueError


@pytest.mark.parametrize("format", ["json", "text"])
def test_what_cannot_be_formatted_is_logged_all_the_same(log, format):
    class Silent:
        def __str__(self):
            raise RuntimeError

        __repr__ = __str__

    circle = {}
    circle["self"] = circle
    out = log(
        format,
        msg="%d",
        args=("x",),
        extra={"odd": Silent(), "circle": circle, "nan": float("nan"), "big": 10**5000},
    )
    assert out.count("\n") == 1
    assert "<Silent without a text>" in out


def test_a_record_that_breaks_its_format_is_told_without_its_text(monkeypatch):
    stream = io.StringIO()
    logs.configure("info", "json", stream)
    monkeypatch.setattr(logs, "_timestamp", lambda record: 1 / 0)
    logging.getLogger("x.y").info("hunter22")
    assert json.loads(stream.getvalue()) == {"level": "error", "message": "a log record of x.y was lost"}


def test_a_broken_pipe_or_closed_stream_does_not_raise():
    class Broken(io.StringIO):
        def write(self, text):
            raise BrokenPipeError

    for stream in (Broken(), io.StringIO()):
        logs.configure("info", "json", stream)
        stream.close()
        logging.getLogger("x").info("gone")
        logs.configure("info", "json", io.StringIO())


def test_a_stream_that_cannot_say_it_gets_escapes():
    raw = io.BytesIO()
    logs.configure("info", "text", io.TextIOWrapper(raw, encoding="ascii"))
    logging.getLogger("x").info("zażółć")
    assert raw.getvalue().endswith(b"za\\u017c\\xf3\\u0142\\u0107\n")


def test_configuring_again_replaces_the_first_handler():
    first, second = io.StringIO(), io.StringIO()
    logs.configure("info", "json", first)
    logs.configure("info", "text", second)
    logging.getLogger("x").info("once")
    assert first.getvalue() == ""
    assert second.getvalue().count("once") == 1


def test_the_level_changes_while_running():
    stream = io.StringIO()
    logs.configure("warn", "text", stream)
    assert logs.current_level() == "warning"
    logging.getLogger("x").info("one")
    logs.set_level(" INFO ")
    logging.getLogger("x").info("two")
    logs.set_level("error")
    logging.getLogger("x").warning("three")
    assert logs.current_level() == "error"
    assert [line.split()[-1] for line in stream.getvalue().splitlines()] == ["two"]


@pytest.mark.parametrize("level", ["", "loud", "10", "hunter2-secret"])
def test_an_unknown_level_lists_the_known_ones_and_changes_nothing(level):
    logs.configure("info", "json", io.StringIO())
    with pytest.raises(ConfigError) as caught:
        logs.set_level(level)
    assert str(caught.value) == "log.level: must be one of: debug, info, warning, error"
    assert logs.current_level() == "info"


def test_an_unknown_format_lists_the_known_ones():
    with pytest.raises(ConfigError, match=r"^log\.format: must be one of: json, text$"):
        logs.configure("info", "xml", io.StringIO())


@pytest.mark.parametrize(
    "name", ["urllib3.connectionpool", "apscheduler.x", "uvicorn.error", "alembic", "sqlalchemy"]
)
def test_libraries_do_not_bury_our_own_lines(name):
    logs.configure("info", "json", io.StringIO())
    assert not logging.getLogger(name).isEnabledFor(logging.INFO)
    assert logging.getLogger(name).isEnabledFor(logging.WARNING)
    logs.set_level("error")
    assert not logging.getLogger(name).isEnabledFor(logging.WARNING)
    logs.set_level("debug")
    assert not logging.getLogger(name).isEnabledFor(logging.INFO)


def test_warnings_are_logged():
    stream = io.StringIO()
    logs.configure("info", "json", stream)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        # Inside the context, for catch_warnings puts its own display function in place.
        logging.captureWarnings(False)
        logging.captureWarnings(True)
        warnings.warn("old thing", stacklevel=1)
        logging.captureWarnings(False)
    line = json.loads(stream.getvalue())
    assert (line["level"], line["logger"]) == ("warning", "py.warnings")
    assert "old thing" in line["message"]


def test_the_stack_is_one_field(log):
    stream = io.StringIO()
    logs.configure("info", "json", stream)
    logs.register_secret("test_the_stack_is")
    logging.getLogger("x").info("here", stack_info=True)
    line = json.loads(stream.getvalue())
    assert line["stack_info"].startswith("Stack")
    assert "test_the_stack_is" not in line["stack_info"]
