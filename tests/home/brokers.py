"""A real mosquitto in a process of its own, and what its clients see."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

MOSQUITTO = shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def until(true: Callable[[], bool], seconds: float = 30.0) -> None:
    """Wait for it, with room for a busy machine."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not come true"
        time.sleep(0.05)


class Mosquitto:
    """A broker that forgets everything when it ends, as one without persistence does."""

    def __init__(self, folder: Path, *lines: str, port: int | None = None) -> None:
        self.port = port or free_port()
        self._config = folder / "mosquitto.conf"
        open_to_all = [] if any("allow_anonymous" in line for line in lines) else ["allow_anonymous true"]
        self._config.write_text("\n".join([f"listener {self.port} 127.0.0.1", "user root", *open_to_all, *lines]))
        self._log = folder / "mosquitto.log"
        self.start()

    def start(self) -> None:
        with self._log.open("a") as log:
            self._process = subprocess.Popen([str(MOSQUITTO), "-c", str(self._config)], stderr=log, stdout=log)
        until(self._is_open)

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()

    def _is_open(self) -> bool:
        assert self._process.poll() is None, self._log.read_text()
        with socket.socket() as one:
            return one.connect_ex(("127.0.0.1", self.port)) == 0


class Seen:
    """A client that keeps the newest message of every topic, and all of them in order."""

    def __init__(self, port: int, **login: Any) -> None:
        from paho.mqtt.client import Client
        from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

        self.newest: dict[str, str] = {}
        self.all: list[tuple[str, str, bool]] = []
        self._client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
        self._client.on_connect = lambda client, *_: client.subscribe("#", qos=1)
        self._client.on_message = self._message
        if login:
            self._client.username_pw_set(**login)
        self._client.reconnect_delay_set(1, 1)
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()

    def _message(self, client: Any, data: Any, message: Any) -> None:
        self.newest[message.topic] = message.payload.decode()
        self.all.append((message.topic, message.payload.decode(), message.retain))

    def json(self, topic: str) -> dict[str, Any]:
        return dict(json.loads(self.newest.get(topic, "{}")))

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


@contextmanager
def mosquitto(folder: Path, *lines: str, port: int | None = None) -> Iterator[Mosquitto]:
    if MOSQUITTO is None:
        pytest.skip("no mosquitto: sh tests/install_system_packages.sh")
    broker = Mosquitto(folder, *lines, port=port)
    try:
        yield broker
    finally:
        broker.stop()


@contextmanager
def seen(port: int, **login: Any) -> Iterator[Seen]:
    one = Seen(port, **login)
    try:
        yield one
    finally:
        one.close()
