"""The HTTP part of a service as an OpenAPI 3.1 document, for programs that make clients of it. WebSockets are none of OpenAPI's
matter: docs/serve.md has them."""

from __future__ import annotations

from typing import Any

from edge_lupi import __version__

__all__ = ["document"]

Json = dict[str, Any]
NUMBER, COUNT, TEXT, YES = (
    {"type": "number"},
    {"type": "integer", "minimum": 0},
    {"type": "string"},
    {"type": "boolean"},
)
NAMED = [{"name": "name", "in": "path", "required": True, "schema": TEXT}]
FLAGS = [{"name": flag, "in": "query", "schema": YES} for flag in ("replace", "force")]


def document() -> Json:
    """The whole of it, as JSON's types."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "edge-lupi serve",
            "version": __version__,
            "description": "Who is speaking; streams: WS /listen.",
        },
        "security": [{"token": []}, {}],
        "paths": {
            "/health": {
                "get": _operation("health", "Whether the listener goes round", {"200": "Health", "503": "Health"})
            },
            "/metrics": {"get": _metrics()},
            "/openapi.json": {"get": _operation("openapi", "This document", {"200": "Document"})},
            "/streams": {"get": _operation("streams", "The streams that are open", {"200": "Streams"})},
            "/streams/{name}": {
                "parameters": NAMED,
                "post": _operation("nameStranger", "Give a number a name", {"200": "Said"}, body="Naming"),
            },
            "/people": {"get": _operation("people", "Who is known", {"200": "People"})},
            "/people/{name}": {
                "parameters": NAMED,
                "post": _enroll(),
                "patch": _operation("rename", "Call somebody otherwise", {"200": "Said"}, body="Renaming"),
                "delete": _operation("forget", "Forget somebody, and their recordings", {"200": "Said"}),
            },
        },
        "components": {
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer", "description": "at other addresses than the loopback"}
            },
            "schemas": _schemas(),
        },
    }


def _operation(name: str, summary: str, answers: dict[str, str], *, body: str = "") -> Json:
    made: Json = {"operationId": name, "summary": summary, "responses": {}}
    for status, schema in answers.items():
        made["responses"][status] = {"description": schema, "content": _json(schema)}
    made["responses"]["default"] = {"description": "why not, in one sentence", "content": _json("Error")}
    if body:
        made["requestBody"] = {"required": True, "content": _json(body)}
    return made


def _enroll() -> Json:
    made = _operation("enroll", "Learn a voice from a sound file: WAV, FLAC, OGG or MP3", {"201": "Enrolled"})
    sound = {"content": {"application/octet-stream": {}}, "required": True}
    return {**made, "parameters": FLAGS, "requestBody": sound}


def _metrics() -> Json:
    made = _operation("metrics", "Prometheus' text format", {})
    made["responses"]["200"] = {"description": "counters", "content": {"text/plain": {"schema": TEXT}}}
    return made


def _json(schema: str) -> Json:
    return {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}}


def _schemas() -> Json:
    counts = {"dropped": COUNT, "dropped_here": COUNT, "waited_seconds": NUMBER, "missed": COUNT}
    stream = _object({"name": TEXT, "seconds": NUMBER, "waiting_seconds": NUMBER, **counts})
    person = _object({"name": TEXT, "exemplars": COUNT, "narrow_band": YES})
    resembles = {"oneOf": [{"type": "null"}, _object({"name": TEXT, "cosine": NUMBER})]}
    return {
        "Document": {"type": "object"},
        "Error": _object({"error": TEXT}),
        "Said": _object({"said": TEXT}),
        "Health": _object({"status": {"enum": ["ok", "stuck"]}, "streams": COUNT}),
        "Streams": _object({"streams": {"type": "array", "items": stream}}),
        "People": _object({"people": {"type": "array", "items": person}}),
        "Naming": _object({"label": TEXT, "name": TEXT}),
        "Renaming": _object({"name": TEXT}),
        "Enrolled": _object({"name": TEXT, "speech_seconds": NUMBER, "exemplars": COUNT, "resembles": resembles}),
    }


def _object(properties: Json) -> Json:
    return {"type": "object", "properties": properties, "required": list(properties)}
