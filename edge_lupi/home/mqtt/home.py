"""The home of a listener: what was typed after --mqtt in, an Output that tells the broker out."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from edge_lupi.home.mqtt.address import BrokerAddress, broker_address
from edge_lupi.home.mqtt.broker import Broker
from edge_lupi.home.mqtt.identity import ListenerName, listener_name
from edge_lupi.home.mqtt.output import MqttOutput
from edge_lupi.runtime.outputs.turns import Output
from edge_lupi.task import Task

__all__ = ["MqttHome"]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class MqttHome:
    """A broker, and what this listener is called there."""

    address: BrokerAddress
    name: ListenerName

    @classmethod
    def at(cls, url: str, name: str | None = None, password: Path | None = None, ca: Path | None = None) -> MqttHome:
        """Checked, and nothing connected yet. Raises InputError."""
        return cls(broker_address(url, password, ca), listener_name(name))

    @contextmanager
    def telling(self, tasks: Sequence[Task]) -> Iterator[Output]:
        """Connected meanwhile; whatever goes on at the broker, the Output never waits. Raises DeviceError where it refuses us."""
        if self.address.is_exposed:
            secrets = "the password and who speaks" if self.address.password else "who speaks"
            log.warning(
                f"{secrets} can be read on the way to {self.address}: use mqtts:// where the net is not yours alone"
            )
        broker = Broker(self.address, self.name.client_id, self.name.availability)
        output = MqttOutput(self.name, tasks, broker.put)
        broker.look = output.look
        with broker:
            yield output
