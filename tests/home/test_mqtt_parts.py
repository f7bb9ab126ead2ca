"""Addresses, names and the state of a home, without a broker."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from edge_lupi.errors import InputError
from edge_lupi.events import Event
from edge_lupi.home.mqtt.address import broker_address
from edge_lupi.home.mqtt.identity import listener_name
from edge_lupi.home.mqtt.output import SILENT_SECONDS, MqttOutput
from edge_lupi.task import Task

SPEAKER = Task("speaker", "verification")


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("mqtt://broker.local", "mqtt://broker.local:1883"),
        ("mqtts://me@broker.local", "mqtts://broker.local:8883"),
        ("mqtt://[::1]:1884/", "mqtt://[::1]:1884"),
    ],
)
def test_addresses(url: str, shown: str) -> None:
    assert str(broker_address(url)) == shown


@pytest.mark.parametrize(
    "url",
    [
        "broker.local", "http://broker.local", "mqtt://", "mqtt://a b", "mqtt://host:99999", "mqtt://host:port",
        "mqtt://host/topic", "mqtt://host?x", "mqtt://ho\x1bst", "mqtt://[::1",
    ],
)  # fmt: skip
def test_addresses_that_are_none_are_one_sentence(url: str) -> None:
    with pytest.raises(InputError, match="expected a broker as mqtt://") as refused:
        broker_address(url)
    assert "\x1b" not in str(refused.value)


def test_a_password_on_the_command_line_is_refused_and_not_repeated() -> None:
    with pytest.raises(InputError, match="expected no password in the broker's address") as refused:
        broker_address("mqtt://me:hunter2@host")
    assert "hunter2" not in str(refused.value)


def test_a_password_is_not_in_what_is_printed(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("hunter2\nsecond line")
    file.chmod(0o600)
    address = broker_address("mqtt://me@host", file)
    assert address.password == "hunter2"
    assert "hunter2" not in repr(address) + str(address)


def test_what_does_not_go_together(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("no certificate")
    (tmp_path / "empty").touch(0o600)
    with pytest.raises(InputError, match="mqtts:// together with a certificate"):
        broker_address("mqtt://host", ca=tmp_path / "ca.pem")
    with pytest.raises(InputError, match="expected a certificate as PEM"):
        broker_address("mqtts://host", ca=tmp_path / "ca.pem")
    with pytest.raises(InputError, match="expected a user beside the password"):
        broker_address("mqtt://host", tmp_path / "empty")
    with pytest.raises(InputError, match="expected a password in the first line"):
        broker_address("mqtt://me@host", tmp_path / "empty")


def test_names_become_words_of_their_own() -> None:
    names = ["kitchen", "Küche", "Kuche", "K che", "台所", "a/b", "a#b", "+", "kitchen "[:7]]
    words = [listener_name(name).word for name in names]
    assert len(set(words)) == len(set(names))
    assert all(word.replace("_", "").replace("-", "").isascii() and word.strip("_") == word for word in words)
    assert listener_name("kitchen").stream("").state == "edge-lupi/kitchen/state"
    one, other = (listener_name("kitchen").stream(f"/home/{name}/hall.wav") for name in ("me", "you"))
    assert one.name == other.name == "kitchen hall"
    assert one.state != other.state
    assert "me" not in one.state.split("/")[2]
    assert listener_name("kitchen").stream("1").discovery == "homeassistant/device/edge-lupi_kitchen_1/config"
    for bad in ("", " kitchen", "x" * 61, "a\nb"):
        with pytest.raises(InputError, match="expected a name"):
            listener_name(bad)


def test_states_of_a_home() -> None:
    """A change is put once; unknown is somebody; after three seconds of quiet nobody; without sound it is gone."""
    put = list[tuple[str, str]]()
    output = MqttOutput(listener_name("kitchen"), [SPEAKER], lambda topic, text: put.append((topic, text)))
    event = Event(time=2.0, start=1.0, task="speaker", label="alice", score=0.7)
    output.passed("", 0.1)
    for one in (event, event, replace(event, time=2.5), replace(event, time=3.0, label="unknown")):
        output.event(one)
    output.passed("", 5.9)
    assert [json.loads(text)["speaker"] for topic, text in put if topic.endswith("/state")] == [
        "nobody",
        "alice",
        "somebody",
    ]
    output.passed("", 6.1)
    output.passed("", 7.0)
    states = [json.loads(text) for topic, text in put if topic.endswith("/state")]
    assert states[1:] == [
        {"presence": "ON", "speaker": "alice"},
        {"presence": "ON", "speaker": "somebody"},
        {"presence": "OFF", "speaker": "nobody"},
    ]
    output.look()
    output._streams[""].heard_seconds -= SILENT_SECONDS + 1
    output.look()
    output.look()
    output.passed("", 8.0)
    assert [text for topic, text in put if topic.endswith("/sound")] == ["online", "offline", "online"]


def test_nobody_stays_at_the_broker_while_the_microphone_is_away() -> None:
    """Who spoke last is no longer told to whoever asks, nor once it comes back."""
    put = list[tuple[str, str]]()
    output = MqttOutput(listener_name("kitchen"), [SPEAKER], lambda topic, text: put.append((topic, text)))
    output.passed("", 1.9)
    output.event(Event(time=2.0, start=1.0, task="speaker", label="alice", score=0.7))
    output._streams[""].heard_seconds -= SILENT_SECONDS + 1
    output.look()
    assert [json.loads(text)["speaker"] for topic, text in put if topic.endswith("/state")][-1] == "nobody"
    output.passed("", 2.1)
    assert json.loads(dict(put)["edge-lupi/kitchen/state"]) == {"presence": "OFF", "speaker": "nobody"}
    assert dict(put)["edge-lupi/kitchen/sound"] == "online"


def test_a_name_that_is_json_stays_a_name() -> None:
    put = dict[str, str]()
    output = MqttOutput(listener_name("kitchen"), [SPEAKER], put.__setitem__)
    name = 'zoë "the voice"\\'
    output.event(Event(time=2.0, start=1.0, task="speaker", label=name))
    assert json.loads(put["edge-lupi/kitchen/state"])["speaker"] == name
    assert put["edge-lupi/kitchen/state"].isascii()
