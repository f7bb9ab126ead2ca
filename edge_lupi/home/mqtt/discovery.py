"""Home Assistant's MQTT device discovery: one retained message per microphone, that says what its state topic holds.

The fields are those of home-assistant.io/integrations/mqtt (device discovery payload), sensor.mqtt and binary_sensor.mqtt.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from edge_lupi import __version__
from edge_lupi.home.mqtt.identity import StreamTopics
from edge_lupi.runtime.trackers.label import UNSURE
from edge_lupi.task import Task

__all__ = ["NOBODY", "PRESENCE", "discovery"]

NOBODY = "nobody"  # the state of every sensor while nobody speaks
PRESENCE = "presence"
MOST_OPTIONS = 100  # of a list that is shown; more are left out, and any state is taken
ICONS = {"speaker": "mdi:account-voice", "emotion": "mdi:emoticon-outline"}


def discovery(topics: StreamTopics, availability: str, tasks: Sequence[Task]) -> dict[str, Any]:
    """The payload: a device with a binary sensor for speech and a sensor for each task; there while listener and sound are."""
    return {
        "device": {
            "identifiers": [topics.device],
            "name": topics.name,
            "manufacturer": "edge-lupi",
            "model": "listener",
            "sw_version": __version__,
        },
        "origin": {"name": "edge-lupi", "sw_version": __version__},
        "availability": [{"topic": availability}, {"topic": topics.availability}],
        "availability_mode": "all",
        "state_topic": topics.state,
        "qos": 1,
        "components": {
            PRESENCE: {
                "platform": "binary_sensor",
                "unique_id": f"{topics.device}_{PRESENCE}",
                "name": "Somebody speaks",
                "device_class": "sound",
                "value_template": _value(PRESENCE),
            },
            **{task.name: _sensor(topics, task) for task in tasks},
        },
    }


def _sensor(topics: StreamTopics, task: Task) -> dict[str, Any]:
    sensor: dict[str, Any] = {
        "platform": "sensor",
        "unique_id": f"{topics.device}_{task.name}",
        "name": task.name.capitalize(),
        "icon": ICONS.get(task.name, "mdi:waveform"),
        "value_template": _value(task.name),
    }
    if task.classifies and len(task.labels) <= MOST_OPTIONS:
        sensor |= {"device_class": "enum", "options": [*task.labels, UNSURE, NOBODY]}
    return sensor


def _value(key: str) -> str:
    return "{{ value_json['" + key + "'] }}"
