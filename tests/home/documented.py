"""Home Assistant's documented fields of a device discovery message, with the type of each, and what is wrong with a payload.

From home-assistant.io: integrations/mqtt (device discovery payload, availability, origin), integrations/sensor.mqtt and
integrations/binary_sensor.mqtt (configuration variables), as of 2025.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

TEXT, FLAG, WHOLE, LIST, MAP = str, bool, int, list, dict
AVAILABILITY = {
    "availability": LIST,
    "availability_mode": TEXT,
    "availability_template": TEXT,
    "availability_topic": TEXT,
    "payload_available": TEXT,
    "payload_not_available": TEXT,
}
ROOT = {**AVAILABILITY, "device": MAP, "origin": MAP, "components": MAP, "state_topic": TEXT, "command_topic": TEXT}
ROOT |= {"qos": WHOLE, "encoding": TEXT}
ORIGIN = {"name": TEXT, "sw_version": TEXT, "support_url": TEXT}
TOPIC = {"topic": TEXT, "payload_available": TEXT, "payload_not_available": TEXT, "value_template": TEXT}
DEVICE = dict.fromkeys(
    [
        "configuration_url",
        "hw_version",
        "manufacturer",
        "model",
        "model_id",
        "name",
        "serial_number",
        "suggested_area",
        "sw_version",
        "via_device",
    ],
    TEXT,
) | {"connections": LIST, "identifiers": LIST}
ENTITY = {
    **AVAILABILITY,
    **dict.fromkeys(
        [
            "platform",
            "device_class",
            "encoding",
            "entity_category",
            "entity_picture",
            "icon",
            "name",
            "object_id",
            "state_topic",
            "unique_id",
            "value_template",
            "json_attributes_topic",
            "json_attributes_template",
        ],
        TEXT,
    ),
    **dict.fromkeys(["enabled_by_default", "force_update"], FLAG),
    **dict.fromkeys(["expire_after", "qos"], WHOLE),
}
PLATFORMS: Mapping[str, Mapping[str, type]] = {
    "sensor": {
        **ENTITY,
        "options": LIST,
        "state_class": TEXT,
        "unit_of_measurement": TEXT,
        "suggested_display_precision": WHOLE,
        "last_reset_value_template": TEXT,
    },
    "binary_sensor": {**ENTITY, "off_delay": WHOLE, "payload_on": TEXT, "payload_off": TEXT},
}
SENSOR_CLASSES = {"enum", "date", "timestamp"}  # those without a number
BINARY_CLASSES = {"motion", "occupancy", "presence", "sound"}
DISCOVERY_TOPIC = re.compile(r"homeassistant/device/[a-zA-Z0-9_-]+/config")


def faults(topic: str, payload: Mapping[str, Any]) -> list[str]:
    """Every sentence that the documentation has against it."""
    return list(_faults(topic, payload))


def _faults(topic: str, payload: Mapping[str, Any]) -> Iterator[str]:
    if not DISCOVERY_TOPIC.fullmatch(topic):
        yield f"{topic} is no discovery topic"
    yield from _fields("root", payload, ROOT, {"device", "origin", "components"})
    yield from _fields("device", payload["device"], DEVICE, {"name"})
    if not payload["device"].get("identifiers") and not payload["device"].get("connections"):
        yield "a device needs identifiers or connections"
    yield from _fields("origin", payload["origin"], ORIGIN, {"name"})
    if "availability" in payload and "availability_topic" in payload:
        yield "availability must not be used together with availability_topic"
    if payload.get("availability_mode") not in (None, "all", "any", "latest"):
        yield "availability_mode is all, any or latest"
    for one in payload.get("availability", []):
        yield from _fields("availability", one, TOPIC, {"topic"})
    ids = [one.get("unique_id") for one in payload["components"].values()]
    if len(set(ids)) < len(ids):
        yield "two unique ids are the same"
    for key, one in payload["components"].items():
        yield from _component(key, one, payload)


def _component(key: str, one: Mapping[str, Any], payload: Mapping[str, Any]) -> Iterator[str]:
    if one.get("platform") not in PLATFORMS:
        yield f"{key} has no platform that is known here"
        return
    yield from _fields(key, one, PLATFORMS[one["platform"]], {"platform", "unique_id"})
    if "state_topic" not in one and "state_topic" not in payload:
        yield f"{key} has no state_topic"
    classes = SENSOR_CLASSES if one["platform"] == "sensor" else BINARY_CLASSES
    if one.get("device_class") not in {None, *classes}:
        yield f"{key}: {one['device_class']} is no device class of a {one['platform']}"
    if "options" in one and (one.get("device_class") != "enum" or not one["options"]):
        yield f"{key}: options are a list that is not empty, of device class enum"
    if "options" in one and {"state_class", "unit_of_measurement"} & set(one):
        yield f"{key}: options go with no state_class and no unit_of_measurement"


def _fields(where: str, values: Mapping[str, Any], known: Mapping[str, type], needed: set[str]) -> Iterator[str]:
    yield from (f"{where} lacks {name}" for name in needed - set(values))
    for name, value in values.items():
        if name not in known:
            yield f"{where}: {name} is not documented"
        elif not isinstance(value, known[name]):
            yield f"{where}: {name} is to be {known[name].__name__}, got {value!r}"
