"""One connection to an MQTT broker, for one thread: opened, polled, written to, closed. Everything that can go wrong is raised here."""

from __future__ import annotations

import ssl
import time
from collections.abc import Iterable
from typing import Any

from paho.mqtt.client import Client, ConnectFlags, MQTTMessageInfo
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from edge_lupi.errors import DeviceError
from edge_lupi.home.mqtt.address import BrokerAddress
from edge_lupi.home.mqtt.identity import OFFLINE
from edge_lupi.words import printable

__all__ = ["Connection", "Refused"]

ANSWER_SECONDS = 5.0  # for a connection, and for its confirmation
KEEP_ALIVE_SECONDS = 30  # after one and a half times this the broker speaks our last will


class Refused(DeviceError):
    """The broker is there and does not take us, or is not to be trusted; one sentence. Trying again will not help soon."""


class Connection:
    """Raises OSError where it cannot be had or is lost, and Refused. `will` is the topic that says `offline` when we are gone."""

    def __init__(self, address: BrokerAddress, client_id: str, will: str) -> None:
        self._address = address
        self._client = client = Client(
            CallbackAPIVersion.VERSION2,
            client_id=client_id,
            protocol=MQTTProtocolVersion.MQTTv311,  # as Home Assistant's own, and every broker's
            reconnect_on_failure=False,
        )
        client.connect_timeout = ANSWER_SECONDS
        client.will_set(will, OFFLINE, qos=1, retain=True)
        client.on_connect = self._confirmed
        if address.user:
            client.username_pw_set(address.user, address.password)
        if address.tls:
            client.tls_set_context(address.tls)
        self._on_the_way = list[MQTTMessageInfo]()
        self._reason: str | None = None
        self._until_seconds = 0.0
        self.is_up = False  # the broker has taken us

    @property
    def is_free(self) -> bool:
        """Whether it is up, and all that was sent is confirmed."""
        return self.is_up and all(info.is_published() for info in self._on_the_way)

    def open(self) -> None:
        """Ask for it; `is_up` follows from a `poll`."""
        self._until_seconds = time.monotonic() + ANSWER_SECONDS
        fault = ""
        try:
            self._client.connect(self._address.host, self._address.port, KEEP_ALIVE_SECONDS)
        except ssl.SSLCertVerificationError as error:
            fault = error.verify_message.rstrip(".")
        if fault:  # raised here, so that the error and with it paho's socket, which it leaves open, are let go of
            raise Refused(
                f"the MQTT broker at {self._address} shows a certificate that is not trusted ({fault}): "
                "name the certificate of who signed it, and in the address the host that it was made for",
                options=("mqtt_ca", "mqtt"),
            )

    def send(self, messages: Iterable[tuple[str, str]]) -> bool:
        """Topics and payloads, retained; gives whether there were any."""
        self._on_the_way = [self._client.publish(topic, text, qos=1, retain=True) for topic, text in messages]
        return bool(self._on_the_way)

    def poll(self, seconds: float) -> None:
        """Write and read what there is; wait so long for something to come."""
        code = self._client.loop(seconds)
        if self._reason:
            raise Refused(
                f"the MQTT broker at {self._address} refused us ({self._reason}): "
                "check the user in its address, and the password",
                options=("mqtt", "mqtt_password"),
            )
        if code != MQTTErrorCode.MQTT_ERR_SUCCESS:
            raise OSError("the connection was lost" if self.is_up else "it does not answer as a broker does")
        if not self.is_up and time.monotonic() > self._until_seconds:
            raise OSError("it does not answer")

    def close(self) -> None:
        """Say that we go, where that can be said; the last will is not spoken then."""
        self._client.disconnect()
        self._client.loop(0)

    def _confirmed(
        self, client: Client, data: Any, flags: ConnectFlags, reason: ReasonCode, properties: Properties | None
    ) -> None:
        self.is_up = not reason.is_failure
        self._reason = printable(str(reason)) if reason.is_failure else None
