"""Messages that any reader of CloudEvents and CDEvents understands."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from jsonschema import Draft202012Validator, FormatChecker

from exporter.model.runs import Status
from exporter.sinks.kafka.envelopes import binary, cdevents, key_of, rfc3339, structured
from exporter.store.telling import About, Teller

ABOUT = About("gitlab", "https://gitlab.example.com", "42", "acme/rocket engine", "main")
_URI = {"type": "string", "minLength": 1, "format": "uri-reference"}
_TEXT = {"type": "string", "minLength": 1}


def schema(type_: str, content: dict[str, Any], required: list[str]) -> dict[str, Any]:
    """What CDEvents 0.5.1 demands of *type_*, whose subject has *content*.

    Source: CDEvents v0.5.1, spec.md and core.md (written down from there).
    """
    return {
        "type": "object",
        "required": ["context", "subject"],
        "additionalProperties": False,
        "properties": {
            "context": {
                "type": "object",
                "required": ["specversion", "id", "source", "type", "timestamp"],
                "additionalProperties": False,
                "properties": {
                    "specversion": {"const": "0.5.1"},
                    "id": _TEXT,
                    "source": _URI,
                    "type": {"const": type_},
                    "timestamp": {"type": "string", "format": "date-time"},
                    "chainId": _TEXT,
                },
            },
            "subject": {
                "type": "object",
                "required": ["id", "content"],
                "additionalProperties": False,
                "properties": {
                    "id": _TEXT,
                    "source": _URI,
                    "content": {
                        "type": "object",
                        "required": required,
                        "additionalProperties": False,
                        "properties": content,
                    },
                },
            },
            "customData": {"oneOf": [{"type": "object"}, {"type": "string", "contentEncoding": "base64"}]},
            "customDataContentType": {"type": "string"},
        },
    }


_OUTCOME = {"enum": ["success", "failure", "cancel", "error"]}
_PIPELINE = {"pipelineName": {"type": "string"}, "uri": {"type": "string", "format": "uri"}}
_TASK = {
    "taskName": {"type": "string"},
    "uri": {"type": "string", "format": "uri"},
    "pipelineRun": {"type": "object", "required": ["id"], "properties": {"id": _TEXT, "source": _URI}},
}
_END = {"outcome": _OUTCOME, "errors": {"type": "string"}}
SCHEMAS = {
    type_: schema(type_, content, required)
    for type_, content, required in (
        ("dev.cdevents.pipelinerun.queued.0.3.0", _PIPELINE, ["pipelineName"]),
        ("dev.cdevents.pipelinerun.started.0.3.0", _PIPELINE, ["pipelineName"]),
        ("dev.cdevents.pipelinerun.finished.0.3.0", _PIPELINE | _END, ["pipelineName", "outcome"]),
        ("dev.cdevents.taskrun.started.0.3.0", _TASK, ["taskName", "pipelineRun"]),
        ("dev.cdevents.taskrun.finished.0.3.0", _TASK | _END, ["taskName", "pipelineRun", "outcome"]),
    )
}


@pytest.fixture
def told(make):
    """The event of a run's or job's change from one status to another."""

    def tell(kind: str, status: Status, before: Status | None = None, **facts: Any) -> Any:
        teller = Teller(ABOUT, make.START)
        if kind == "run":
            new = make.run(4711, status, **facts)
            teller.run(replace(new, status=before, finished_at=None) if before else None, new)
        else:
            new = make.job(9, status, run_id=4711, **facts)
            old = replace(new, status=before, finished_at=None) if before else None
            teller.job(old, new, make.run(4711, Status.RUNNING, None))
        (event,) = teller.events
        return event

    return tell


def test_binary_leaves_the_data_as_it_is_and_says_the_rest_in_headers(events):
    message = binary(events(1, "ünï", data=b'{ "a" :1}'))
    assert message.value == b'{ "a" :1}'
    assert dict(message.headers)["ce_source"] == "https://host/ünï".encode()


def test_structured_has_the_data_byte_for_byte_in_a_cloudevent(events):
    message = structured(events(1, data=b'{ "\xc3\xbc" : 1.10}'))
    assert message.value.endswith(b',"data":{ "\xc3\xbc" : 1.10}}')
    assert json.loads(message.value) == {
        "specversion": "1.0",
        "id": "host/1",
        "source": "https://host/7",
        "type": "com.host.pushed",
        "subject": "7",
        "time": "2026-03-01T12:00:00.250000Z",
        "datacontenttype": "application/json",
        "data": {"ü": 1.1},
    }
    assert message.headers == [("content-type", b"application/cloudevents+json; charset=UTF-8")]


def test_times_are_told_in_utc():
    east = timezone(timedelta(hours=5, minutes=30))
    assert rfc3339(datetime(2026, 3, 1, 1, 30, tzinfo=east)) == "2026-02-28T20:00:00Z"


@pytest.mark.parametrize(
    ("kind", "key"), [("project", b"7"), ("subject", b"https://host/7/7"), ("none", None)]
)
def test_the_key_is_the_one_that_was_chosen(events, kind, key):
    assert key_of(events(1), kind) == key


@pytest.mark.parametrize(
    ("kind", "status", "before", "type_", "outcome"),
    [
        ("run", Status.CREATED, None, "pipelinerun.queued", None),
        ("run", Status.PENDING, None, "pipelinerun.queued", None),
        ("run", Status.PENDING, Status.MANUAL, "pipelinerun.queued", None),
        ("run", Status.RUNNING, Status.PENDING, "pipelinerun.started", None),
        ("run", Status.SUCCESS, Status.RUNNING, "pipelinerun.finished", "success"),
        ("run", Status.FAILED, None, "pipelinerun.finished", "failure"),
        ("run", Status.CANCELED, Status.PENDING, "pipelinerun.finished", "cancel"),
        ("run", Status.SKIPPED, None, "pipelinerun.finished", "cancel"),
        ("job", Status.RUNNING, Status.PENDING, "taskrun.started", None),
        ("job", Status.SUCCESS, Status.RUNNING, "taskrun.finished", "success"),
        ("job", Status.FAILED, Status.RUNNING, "taskrun.finished", "failure"),
        ("job", Status.CANCELED, None, "taskrun.finished", "cancel"),
    ],
)
def test_a_change_is_the_cdevent_that_the_specification_has_for_it(
    told, kind, status, before, type_, outcome
):
    web_url = "https://gitlab.example.com/acme/rocket/-/pipelines/4711"
    event = told(kind, status, before, web_url=web_url)
    message = cdevents(event)
    found = json.loads(message.value)
    full_type = f"dev.cdevents.{type_}.0.3.0"
    validator = Draft202012Validator(SCHEMAS[full_type], format_checker=FormatChecker())
    assert list(validator.iter_errors(found)) == []
    content = found["subject"]["content"]
    assert content.get("outcome") == outcome
    assert content["uri"] == web_url
    # CloudEvents binding: id, source, type, subject and time are those of the CDEvent.
    headers = {name: value.decode() for name, value in message.headers}
    assert headers == {
        "ce_specversion": "1.0",
        "ce_id": found["context"]["id"],
        "ce_source": found["context"]["source"],
        "ce_type": full_type,
        "ce_subject": found["subject"]["id"],
        "ce_time": found["context"]["timestamp"],
        "content-type": "application/cdevents+json",
    }
    assert found["customData"] == json.loads(event.data)
    assert cdevents(event) == message


@pytest.mark.parametrize(
    ("kind", "status", "before"),
    [
        ("run", Status.PENDING, Status.CREATED),
        ("run", Status.MANUAL, Status.RUNNING),
        ("run", Status.UNKNOWN, None),
        ("job", Status.PENDING, None),
        ("job", Status.MANUAL, Status.CREATED),
    ],
)
def test_a_change_that_cdevents_has_no_type_for_goes_out_as_it_is(told, kind, status, before):
    event = told(kind, status, before)
    assert cdevents(event) == binary(event)


def test_an_event_of_a_source_goes_out_as_it_is_among_cdevents(events):
    assert cdevents(events(1)) == binary(events(1))


def test_names_in_cdevents_are_those_of_the_pipeline_and_the_job(told):
    content = json.loads(cdevents(told("run", Status.RUNNING, pipeline="nightly")).value)["subject"][
        "content"
    ]
    assert content["pipelineName"] == "nightly"
    content = json.loads(cdevents(told("run", Status.RUNNING)).value)["subject"]["content"]
    assert content["pipelineName"] == "acme/rocket engine"
    failed = told("job", Status.FAILED, failure_reason="script_failure")
    content = json.loads(cdevents(failed).value)["subject"]["content"]
    assert content["errors"] == "script_failure"
    assert (content["taskName"], content["pipelineRun"]) == ("unit", {"id": "runs/4711"})
