"""What a broker is to hold, kept true by a thread of its own: the newest payload of each topic in, retained there, whenever it can be had.

    listener ─► put(topic, payload) ─► { topic: newest payload } ─► this thread ─► broker, QoS 1, retained
                never waits             one a topic, however long       connects, waits for what it sent to be
                                        the broker is away              confirmed, tries again ever more seldom

A new connection is told everything again, as the broker may have forgotten it.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from threading import Event, Lock, Thread
from types import TracebackType

from edge_lupi.errors import DeviceError
from edge_lupi.home.mqtt.address import BrokerAddress
from edge_lupi.home.mqtt.connection import Connection, Refused
from edge_lupi.home.mqtt.identity import OFFLINE, ONLINE
from edge_lupi.words import printable

__all__ = ["Broker"]

log = logging.getLogger(__name__)

POLL_SECONDS = 1.0  # changes, and answers of the broker, are seen at once
BEGIN_SECONDS = 3.0  # that the start of listening waits to hear whether the broker takes us
END_SECONDS = 2.0  # for the last words
WAITS_SECONDS = (1.0, 60.0)  # between two attempts, at first and at most
STEADY_SECONDS = 30.0  # a connection that held for so long was a good one
RIVALRY = 3  # connections in a row that did not hold: another client of our id pushes us out, and we it


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
        self._newest: dict[str, str] = {availability: ONLINE}
        self._unsent: dict[str, None] = {}  # topics, in the order of their change
        self._lock = Lock()
        self._changed, self._closing, self._begun = Event(), Event(), Event()
        self._refusal: DeviceError | None = None
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
            raise self._refusal
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end_seconds = time.monotonic() + END_SECONDS
        self._closing.set()
        self.put(self._availability, OFFLINE)
        self._thread.join(END_SECONDS + 1)

    def _run(self) -> None:
        wait_seconds = self._waits_seconds[0]
        while not self._closing.is_set():
            began = time.monotonic()
            try:
                self._serve(Connection(self._address, self._client_id, self._availability))
            except Refused as refusal:
                self._fault(refusal)
            except (
                Exception
            ) as error:  # OSError; of paho also ValueError, RuntimeError and its own. The thread lives on
                self._fault(self._not_reached(error))
            if time.monotonic() - began > STEADY_SECONDS:
                wait_seconds, self._short_connections = self._waits_seconds[0], 0
            self._wait(wait_seconds * random.uniform(0.5, 1.0))  # a fleet does not come back all at once
            wait_seconds = min(2 * wait_seconds, self._waits_seconds[1])

    def _wait(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0 and not self._closing.wait(min(left, POLL_SECONDS)):
            self.look()

    def _serve(self, connection: Connection) -> None:
        """Send what changes, and no more before that is confirmed: what changes meanwhile is the newest then."""
        connection.open()
        try:
            while not connection.is_up and time.monotonic() < self._end_seconds:
                connection.poll(POLL_SECONDS)
            self._welcome()
            while time.monotonic() < self._end_seconds:
                is_free = connection.is_free
                is_sent = is_free and connection.send(self._take())
                if is_free and not is_sent:
                    if self._closing.is_set():
                        return
                    self._changed.wait(POLL_SECONDS)
                connection.poll(0 if is_free and not is_sent else POLL_SECONDS)
                self.look()
        finally:
            connection.close()

    def _welcome(self) -> None:
        """A broker that has taken us is told everything."""
        with self._lock:
            self._unsent = dict.fromkeys(self._newest)
        self._short_connections += 1
        self._begun.set()
        if self._said and self._short_connections < RIVALRY:
            log.info(f"the MQTT broker at {self._address} is there again")
            self._said = set()

    def _take(self) -> list[tuple[str, str]]:
        """What has changed, once."""
        with self._lock:
            topics, self._unsent = list(self._unsent), {}
            self._changed.clear()
            return [(topic, self._newest[topic]) for topic in topics]

    def _not_reached(self, error: Exception) -> DeviceError:
        """Also why connections that were confirmed may be lost again and again."""
        said = f"could not reach the MQTT broker at {self._address} ({_why(error)})"
        if self._short_connections < RIVALRY:
            return DeviceError(said)
        return DeviceError(
            f"{said}, as often before: if another listener calls itself {self._client_id} too, give each its own name",
            options=("mqtt_name",),
        )

    def _fault(self, fault: DeviceError) -> None:
        """Said once, and not again before the broker was there. A refusal at the very beginning ends the start instead."""
        sentence = str(fault)
        if self._closing.is_set():
            return
        if isinstance(fault, Refused) and not self._begun.is_set():
            self._refusal = DeviceError(sentence, options=fault.options)  # a new one, which holds no socket
        elif sentence not in self._said:
            said = f"{sentence}; listening goes on, and it is tried again"
            log.warning(said, extra={"options": fault.options})
            self._said.add(sentence)
        self._begun.set()


def _why(error: Exception) -> str:
    return printable(getattr(error, "strerror", None) or str(error) or type(error).__name__)[:200]
