"""The OpenAPI document, from the table of endpoints."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from exporter.web.api.columns import Schema
from exporter.web.api.endpoints import LARGEST_ID, Endpoint
from exporter.web.api.parameters import Parameter
from exporter.web.api.records import TABLES

PATH = "/api/openapi.json"
_ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {"error": {"type": "string", "description": "One sentence that says what is wrong."}},
    "additionalProperties": False,
}
_PLACES: dict[str, dict[str, Any]] = {
    "provider": {"type": "string", "description": "Kind of source, as in the label provider."},
    "project": {"type": "string", "description": "Full path of the project."},
    "id": {
        "type": "integer",
        "minimum": 0,
        "maximum": LARGEST_ID,
        "description": "The source's number of the run.",
    },
}
_ETAG = {"description": "Another one whenever the answer may be.", "schema": {"type": "string"}}
_LINK = {
    "description": 'Where the next page is, <…>; rel="next"; absent on the last one.',
    "schema": {"type": "string"},
}
_RETRY = {"description": "Seconds to wait before asking again.", "schema": {"type": "integer", "minimum": 1}}


def openapi(endpoints: Sequence[Endpoint], version: str) -> dict[str, Any]:
    """The document of *endpoints* in OpenAPI 3.1."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "ci-exporter",
            "version": version,
            "description": "Runs of CI pipelines that are kept, one by one and in numbers. Durations are in "
            "seconds, rates in percent, times in UTC; what is unknown is null. "
            "A parameter with an empty value is as if it were left out.",
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "paths": {endpoint.path: {"get": _operation(endpoint)} for endpoint in endpoints}
        | {PATH: {"get": _of_the_document()}},
        "components": {
            "schemas": {table.name: table.schema() for table in TABLES} | {"Error": _ERROR},
            "responses": _refusals(),
            "securitySchemes": {"password": {"type": "http", "scheme": "basic"}},
        },
        # Whether a password is needed is a setting.
        "security": [{}, {"password": []}],
    }


def _operation(endpoint: Endpoint) -> Schema:
    places: list[Schema] = [
        {
            "name": name,
            "in": "path",
            "required": True,
            "description": schema["description"],
            "schema": _bare(schema),
        }
        for name, schema in _PLACES.items()
        if f"{{{name}}}" in endpoint.path
    ]
    return {
        "operationId": endpoint.name,
        "summary": endpoint.summary,
        "description": endpoint.description,
        "parameters": places + [_parameter(parameter) for parameter in endpoint.parameters],
        "responses": {
            "200": _answer(endpoint),
            **_refused("304", "400", *(["404"] if places else []), "503"),
        },
    }


def _bare(schema: Schema) -> Schema:
    return {key: value for key, value in schema.items() if key != "description"}


def _parameter(parameter: Parameter) -> Schema:
    schema: dict[str, Any] = dict(parameter.schema)
    default = parameter.default
    if parameter.many:
        schema = {"type": "array", "items": schema}
        default_value: Any = [default]
    else:
        default_value = int(default) if default and schema["type"] == "integer" else default
    if default is not None:
        schema["default"] = default_value
    shape: dict[str, Any] = {"style": "form", "explode": True} if parameter.many else {}
    return {
        "name": parameter.name,
        "in": "query",
        "description": parameter.description,
        "schema": schema,
        **shape,
    }


def _answer(endpoint: Endpoint) -> Schema:
    row = endpoint.table.reference()
    content: dict[str, Any] = {
        "application/json": {"schema": {"type": "array", "items": row} if endpoint.many else row}
    }
    if endpoint.has_csv:
        content["text/csv"] = {"schema": {"type": "string"}}
    paged = any(parameter.name == "after" for parameter in endpoint.parameters)
    headers = {"ETag": _ETAG} | ({"Link": _LINK} if paged else {})
    return {"description": endpoint.table.description, "headers": headers, "content": content}


def _refused(*codes: str) -> Schema:
    """References to what any question may be answered with, too."""
    return {
        code: {"$ref": f"#/components/responses/{code}"} for code in sorted({*codes, "401", "414", "429"})
    }


def _refusals() -> Schema:
    error = {
        "application/json": {"schema": {"$ref": "#/components/schemas/Error"}},
        "text/plain": {"schema": {"type": "string"}},
    }
    text = {"text/plain": {"schema": {"type": "string"}}}
    return {
        "304": {"description": "It is what If-None-Match names.", "headers": {"ETag": _ETAG}},
        "400": {"description": "A parameter is wrong; the sentence names it.", "content": error},
        "401": {"description": "A user name and a password are needed.", "content": text},
        "404": {"description": "There is no such run.", "content": error},
        "414": {"description": "The address is too long.", "content": text},
        "429": {"description": "Too many requests.", "headers": {"Retry-After": _RETRY}, "content": text},
        "503": {
            "description": "Not now: too many questions, too long a one, or the store does not answer.",
            "headers": {"Retry-After": _RETRY},
            "content": error,
        },
    }


def _of_the_document() -> Schema:
    return {
        "operationId": "getDocument",
        "summary": "This document",
        "responses": {
            "200": {
                "description": "This document.",
                "headers": {"ETag": _ETAG},
                "content": {"application/json": {"schema": {"type": "object"}}},
            },
            **_refused("304", "400"),
        },
    }
