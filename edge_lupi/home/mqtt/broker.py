"""Connection to an MQTT broker in a thread of its own: the newest payload of each topic in, retained there, whenever it can be had.

    listener ─► put(topic, payload) ─► { topic: newest payload } ─► this thread ─► broker, QoS 1, retained
                never waits             one a topic, however long       connects, waits for what it sent to be
                                        the broker is away              confirmed, tries again ever more seldom

A new connection is told everything again, as the broker may have forgotten it.
"""

from __future__ import annotations

import logging
import random
import ssl
import time
from collections.abc import Callable
from threading import Event, Lock, Thread
from types import TracebackType
from typing import Any

from paho.mqtt.client import Client, ConnectFlags, MQTTMessageInfo
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from edge_lupi.errors import DeviceError
from edge_lupi.home.mqtt.address import BrokerAddress
from edge_lupi.words import printable

__all__ = ["Broker"]

log = logging.getLogger(__name__)

POLL_SECONDS = 1.0  # changes, and what comes from the broker while something is on its way, wake it at once
ANSWER_SECONDS = 5.0  # for a connection, and for its confirmation
BEGIN_SECONDS = 3.0  # that the start of listening waits to hear whether the broker takes us
END_SECONDS = 2.0  # for the last words
KEEP_ALIVE_SECONDS = 30  # after one and a half times this the broker speaks our last will
WAITS_SECONDS = (1.0, 60.0)  # between two attempts, at first and at most
STEADY_SECONDS = 30.0  # a connection that held for so long was a good one
RIVALRY = 3  # connections in a row that did not hold: another client of our id pushes us out, and we it


class _Refused(Exception):
    """The broker is there and does not take us, or is not to be trusted: trying again will not help soon."""


class Broker:
    """Keeps topics true at a broker from entering to leaving.

    `availability` is the topic that says `online`, and by the last will `offline`; `look` is called now and then. Entering
    raises DeviceError where the broker refuses us; where it is away, it is tried again for ever, and said once.
    """

    def __init__(
        self,
        address: BrokerAddress,
        client_id: str,
        availability: str,
        waits_seconds: tuple[float, float] = WAITS_SECONDS,
    ) -> None:
        self.look: Callable[[], None] = lambda: None
        self._address, self._client_id, self._availability = address, client_id, availability
        self._waits_seconds = waits_seconds
        self._newest: dict[str, str] = {availability: "online"}
        self._unsent: dict[str, None] = {}  # topics, in the order of their change
        self._lock = Lock()
        self._changed, self._closing, self._begun = Event(), Event(), Event()
        self._refusal: str | None = None
        self._short_connections = 0
        self._said = set[str]()  # since the broker was last there
        self._end_seconds = float("inf")
        self._thread = Thread(target=self._run, name="mqtt", daemon=True)

    def put(self, topic: str, payload: str) -> None:
        """The newest payload of a topic. For any thread; waits for nothing but a short lock."""
        with self._lock:
            self._newest[topic] = payload
            self._unsent[topic] = None
        self._changed.set()

    def __enter__(self) -> Broker:
        self._thread.start()
        self._begun.wait(BEGIN_SECONDS)
        if self._refusal:
            self._closing.set()
            raise DeviceError(self._refusal)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end_seconds = time.monotonic() + END_SECONDS
        self._closing.set()
        self.put(self._availability, "offline")
        self._thread.join(END_SECONDS + 1)

    def _run(self) -> None:
        wait_seconds = self._waits_seconds[0]
        while not self._closing.is_set():
            began = time.monotonic()
            try:
                self._connect_and_serve()
            except _Refused as refusal:
                self._fault(str(refusal), is_refusal=True)
            except (OSError, ValueError) as error:
                self._fault(f"could not reach the MQTT broker at {self._address} ({_why(error)})")
            if time.monotonic() - began > STEADY_SECONDS:
                wait_seconds, self._short_connections = self._waits_seconds[0], 0
            self._wait(wait_seconds * random.uniform(0.5, 1.0))  # a fleet does not come back all at once
            wait_seconds = min(2 * wait_seconds, self._waits_seconds[1])

    def _wait(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until and not self._closing.wait(POLL_SECONDS):
            self.look()

    def _connect_and_serve(self) -> None:
        """One connection, until it is lost. Raises OSError and _Refused."""
        connection = _Connection()
        client = self._client(connection)
        try:
            client.connect(self._address.host, self._address.port, KEEP_ALIVE_SECONDS)
        except ssl.SSLCertVerificationError as error:
            raise _Refused(
                f"the MQTT broker at {self._address} shows a certificate that is not trusted ({error.verify_message.rstrip('.')}): "
                "pass --mqtt-ca FILE, the certificate of who signed it, and the name that it was made for in --mqtt"
            ) from error
        try:
            self._serve(client, connection)
        finally:
            client.disconnect()
            client.loop(0)

    def _serve(self, client: Client, connection: _Connection) -> None:
        """Send what changes, and no more before that is confirmed: what changes meanwhile is the newest then."""
        until = time.monotonic() + ANSWER_SECONDS
        on_the_way = list[MQTTMessageInfo]()
        while time.monotonic() < self._end_seconds:
            is_free = connection.is_up and all(info.is_published() for info in on_the_way)
            if is_free:
                on_the_way = [client.publish(topic, text, qos=1, retain=True) for topic, text in self._take()]
            if is_free and not on_the_way:
                if self._closing.is_set():
                    return
                self._changed.wait(POLL_SECONDS)
            code = client.loop(POLL_SECONDS if on_the_way or not connection.is_up else 0)
            self._check(connection, code, until)
            self.look()

    def _check(self, connection: _Connection, code: MQTTErrorCode, until: float) -> None:
        """What has become of a connection. Raises OSError where it is lost, _Refused where we are not wanted."""
        if connection.refusal:
            raise _Refused(
                f"the MQTT broker at {self._address} refused us ({connection.refusal}): "
                "check the user in --mqtt and the file of --mqtt-password"
            )
        if code != MQTTErrorCode.MQTT_ERR_SUCCESS:
            raise OSError(self._lost() if connection.is_up else "it does not answer as a broker does")
        if not connection.is_up and time.monotonic() > until:
            raise OSError("it does not answer")
        if connection.is_up and not connection.is_told:
            connection.is_told = True
            self._welcome()

    def _lost(self) -> str:
        """Why a connection that was confirmed may be lost."""
        if self._short_connections < RIVALRY:
            return "the connection was lost"
        return f"it ends every connection soon; if another listener calls itself {self._client_id} too, pass each its own --mqtt-name"

    def _welcome(self) -> None:
        """A broker that has taken us is told everything."""
        with self._lock:
            self._unsent = dict.fromkeys(self._newest)
        self._short_connections += 1
        self._begun.set()
        self._changed.set()
        if self._said and self._short_connections < RIVALRY:
            log.info(f"the MQTT broker at {self._address} is there again")
            self._said = set()

    def _take(self) -> list[tuple[str, str]]:
        """What has changed, once."""
        with self._lock:
            topics, self._unsent = list(self._unsent), {}
            self._changed.clear()
            return [(topic, self._newest[topic]) for topic in topics]

    def _fault(self, sentence: str, *, is_refusal: bool = False) -> None:
        """Said once, and not again before the broker was there. A refusal at the very beginning ends the start instead."""
        if self._closing.is_set():
            return
        if is_refusal and not self._begun.is_set():
            self._refusal = sentence
        elif sentence not in self._said:
            log.warning(f"{sentence}; listening goes on, and it is tried again")
            self._said.add(sentence)
        self._begun.set()

    def _client(self, connection: _Connection) -> Client:
        client = Client(
            CallbackAPIVersion.VERSION2,
            client_id=self._client_id,
            protocol=MQTTProtocolVersion.MQTTv311,  # as Home Assistant's own, and every broker's
            reconnect_on_failure=False,
        )
        client.connect_timeout = ANSWER_SECONDS
        client.will_set(self._availability, "offline", qos=1, retain=True)
        client.on_connect = connection.connected
        if self._address.user:
            client.username_pw_set(self._address.user, self._address.password)
        if self._address.tls:
            client.tls_set_context(self._address.tls)
        return client


class _Connection:
    """What the broker has said of one connection."""

    def __init__(self) -> None:
        self.is_up = self.is_told = False
        self.refusal: str | None = None

    def connected(
        self, client: Client, data: Any, flags: ConnectFlags, reason: ReasonCode, properties: Properties | None
    ) -> None:
        """The broker's answer to ours."""
        self.is_up = not reason.is_failure
        self.refusal = printable(str(reason)) if reason.is_failure else None


def _why(error: Exception) -> str:
    return printable(getattr(error, "strerror", None) or str(error) or type(error).__name__)[:200]
