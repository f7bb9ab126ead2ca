"""HTTP for programs: people, names, state; the OpenAPI document holds for every answer, Prometheus' own parser for the counts."""

from __future__ import annotations

import json
import socket
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import soundfile

from edge_lupi import SoundFile
from edge_lupi.runtime.speakers.gallery import Gallery
from edge_lupi.runtime.speakers.recordings import Recordings
from tests.serve.serving import TWO_VOICES, Serving, ended, events, serving


def piece(folder: Path, begin: float, end: float) -> bytes:
    """Of the two voices: the first speaks to 4 s, the second to 9, and so on; see two_voices.rttm."""
    samples, rate = soundfile.read(TWO_VOICES, dtype="int16")
    path = folder / f"{begin}.wav"
    soundfile.write(path, samples[round(begin * rate) : round(end * rate)], rate)
    return path.read_bytes()


def checked(served: Serving, method: str, path: str, body: bytes | None = None, template: str = "") -> tuple[int, Any]:
    """An answer that is as the document says."""
    jsonschema = pytest.importorskip("jsonschema")
    document = served.asked("GET", "/openapi.json")[1]
    status, said = served.asked(method, path, body)
    answers = document["paths"][template or path][method.lower()]["responses"]
    answer = answers.get(str(status), answers["default"])
    schema = answer["content"]["application/json"]["schema"]
    jsonschema.validate(said, {**schema, "components": document["components"]}, jsonschema.Draft202012Validator)
    return status, said


def test_the_document_is_one(served: Serving) -> None:
    validator = pytest.importorskip("openapi_spec_validator")
    document = served.asked("GET", "/openapi.json")[1]
    validator.validate(document)
    assert document["openapi"] == "3.1.0"


def test_people_from_enrolling_to_forgetting(tmp_path: Path) -> None:
    """By sound files; a stream that is open knows each change from its next segment on."""
    with serving(tmp_path) as served, served.open() as client:
        person = "/people/{name}"
        assert checked(served, "GET", "/people") == (200, {"people": []})
        status, said = checked(served, "POST", "/people/Ann", piece(tmp_path, 9.0, 13.4), person)
        assert (status, said["name"], said["resembles"]) == (201, "Ann", None)
        assert said["speech_seconds"] > 3
        samples = soundfile.read(TWO_VOICES, dtype="int16")[0].astype("<i2")
        client.send(samples[: 4 * 16_000].tobytes())
        until_label(client, "Ann")
        status, said = checked(served, "PATCH", "/people/Ann", b'{"name": "Bea"}', person)
        assert (status, said["said"]) == (200, "Ann is Bea from now on")
        assert [one["name"] for one in checked(served, "GET", "/people")[1]["people"]] == ["Bea"]
        assert Gallery.load(tmp_path / "people.json").names == ["Bea"]
        client.send(samples[: 4 * 16_000].tobytes())
        until_label(client, "Bea")
        assert checked(served, "DELETE", "/people/Bea", template=person)[0] == 200
        assert Gallery.load(tmp_path / "people.json").names == []
        assert "Bea" not in str(served.service.output.history.since(0))
        client.send('{"type": "end"}')
        ended(client)


def until_label(client: Any, label: str) -> None:
    while label != json.loads(client.recv(20)).get("label"):
        pass


def test_a_number_of_a_stream_gets_a_name(tmp_path: Path) -> None:
    with serving(tmp_path) as served, served.open("name=hall") as client:
        samples = soundfile.read(TWO_VOICES, dtype="int16")[0].astype("<i2")
        client.send(samples[: 5 * 16_000].tobytes())
        until_label(client, "speaker 1")
        while served.service.streams[0].seconds < 5:
            time.sleep(0.02)
        naming = json.dumps({"label": "speaker 1", "name": "Zoë Ng"}).encode()
        status, said = checked(served, "POST", "/streams/hall", naming, "/streams/{name}")
        assert (status, said) == (200, {"said": "speaker 1 is Zoë Ng from now on"})
        state = checked(served, "GET", "/streams")[1]["streams"]
        assert [(one["name"], one["seconds"]) for one in state] == [("hall", 5.0)]
        client.send(samples[10 * 16_000 : 13 * 16_000].tobytes())
        client.send('{"type": "end"}')
        ended(client)
        assert checked(served, "DELETE", f"/people/{quote('Zoë Ng')}", template="/people/{name}")[0] == 200


def test_renamed_with_all_that_was_recorded(tmp_path: Path) -> None:
    gallery = Gallery(tmp_path / "people.json", "a" * 64)
    with Gallery.changed(gallery.path, gallery.fingerprint) as stored:
        import numpy as np

        stored.add("Ann", np.eye(1, 192, dtype=np.float32), narrow_band=True)
        stored.keep("Ann", next(iter(SoundFile(TWO_VOICES))).samples)
    with Gallery.changed(gallery.path, gallery.fingerprint) as stored:
        stored.rename("Ann", "Bea")
    again = Gallery.load(gallery.path)
    assert (again.names, again.narrow_band("Bea")) == (["Bea"], True)
    assert (len(Recordings(gallery.path).of("Ann")), len(Recordings(gallery.path).of("Bea"))) == (0, 1)


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "sentence"),
    [
        ("POST", "/people/Ann", b"no sound at all", 409, "expected"),
        ("POST", "/people/Ann", b"", 409, "expected sound (WAV, FLAC, OGG, MP3 ...) in the sound that was sent"),
        ("POST", "/people/speaker%201", b"x", 409, "expected a name of"),
        ("POST", "/people/Ann?force=maybe", b"x", 400, "expected replace and force alone"),
        ("POST", "/people/Ann?token=x", b"x", 400, "expected replace and force alone"),
        ("DELETE", "/people/Nobody", None, 409, "expected a speaker that"),
        ("PATCH", "/people/Nobody", b'{"name": "Bea"}', 409, "expected a speaker that"),
        ("PATCH", "/people/Nobody", b'{"to": "Bea"}', 409, 'expected "name" in the object'),
        ("PATCH", "/people/Nobody", b"[[[[", 400, "expected an object of JSON"),
        ("PATCH", "/people/Nobody", b'{"name": "' + b"x" * 5000 + b'"}', 400, "expected an object of JSON"),
        (
            "POST",
            "/streams/nowhere",
            b'{"label": "speaker 1", "name": "Bea"}',
            409,
            "expected somebody who has a number",
        ),
        ("PUT", "/people/Ann", b"x", 405, "expected DELETE or PATCH or POST, got PUT"),
        ("POST", "/people", b"x", 405, "expected GET, got POST"),
        ("DELETE", "/metrics", None, 405, "expected GET, got DELETE"),
        ("GET", "/listen", None, 426, "expected a WebSocket"),
        ("GET", "/nothing", None, 404, "expected /, /people, /streams"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(
    served: Serving, method: str, path: str, body: bytes | None, status: int, sentence: str
) -> None:
    got, said = served.asked(method, path, body)
    assert (got, set(said)) == (status, {"error"})
    assert said["error"].startswith(sentence)
    assert "\n" not in said["error"]
    assert served.asked("GET", "/people") == (200, {"people": []})


def test_two_voices_are_not_enrolled_as_one(served: Serving) -> None:
    status, said = served.asked("POST", "/people/Ann", TWO_VOICES.read_bytes())
    assert status == 409
    assert "two voices" in said["error"]


def test_a_sound_file_that_is_too_long(served: Serving) -> None:
    connection = socket.create_connection(("127.0.0.1", served.address.port), timeout=20)
    head = f"POST /people/Ann HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {1 << 30}\r\n\r\n"
    connection.sendall(head.encode())
    try:
        for _ in range(20):
            connection.sendall(b"\0" * (1 << 20))
    except OSError:
        pass  # it has been answered already
    with connection:
        assert served.asked("GET", "/health") == (200, {"status": "ok", "streams": 0})


def test_counts_as_prometheus_reads_them(tmp_path: Path) -> None:
    parser = pytest.importorskip("prometheus_client.parser")
    with serving(tmp_path) as served:
        with served.open() as client:
            client.send(soundfile.read(TWO_VOICES, dtype="int16", frames=80_000)[0].astype("<i2").tobytes())
            client.send('{"type": "lost", "samples": 160}')
            client.send('{"type": "end"}')
            heard = len(events(ended(client)))
        text = served.asked("GET", "/metrics")[1]
        families = {family.name: family for family in parser.text_string_to_metric_families(text)}
        values = {sample.name: sample.value for family in families.values() for sample in family.samples}
        assert values["edge_lupi_open_streams"] == 0
        assert values["edge_lupi_streams_total"] == 1
        assert values["edge_lupi_heard_seconds_total"] == 5
        by_task = {sample.labels["task"]: sample.value for sample in families["edge_lupi_events"].samples}
        assert set(by_task) == {"speaker", "emotion"}
        assert sum(by_task.values()) == heard == values["edge_lupi_latency_seconds_count"]
        buckets = [sample.value for sample in families["edge_lupi_latency_seconds"].samples if "le" in sample.labels]
        assert buckets == sorted(buckets)
        assert buckets[-1] == heard
        assert {family.type for family in families.values()} == {"counter", "gauge", "histogram"}
        assert all(family.documentation for family in families.values())


def test_health_is_the_listeners(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge_lupi.serve.service.LATE_SECONDS", 0.3)
    with serving(tmp_path, runs=False) as served:
        time.sleep(0.5)
        assert checked(served, "GET", "/health") == (503, {"status": "stuck", "streams": 0})
