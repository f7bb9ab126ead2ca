"""Name of a listener in the home, and the topics that follow from it: the same words every time, letters and digits alone.

edge-lupi/kitchen/availability           online, or offline by the last will
edge-lupi/kitchen/state                  who speaks, of the only stream
edge-lupi/kitchen/sound                  online while sound comes from it
edge-lupi/kitchen/1/state                the same of one of several streams
homeassistant/device/edge-lupi_kitchen/config
"""

from __future__ import annotations

import hashlib
import re
import socket
from dataclasses import dataclass
from pathlib import PurePath

from edge_lupi.errors import InputError
from edge_lupi.words import composed, printable

__all__ = ["OFFLINE", "ONLINE", "ListenerName", "StreamTopics", "listener_name"]

PREFIX = "edge-lupi"
DISCOVERY = "homeassistant"  # Home Assistant's own, unless somebody changed it there
ONLINE, OFFLINE = "online", "offline"  # what it takes for there and gone unless told otherwise
LONGEST = 60


@dataclass(frozen=True)
class StreamTopics:
    """One microphone in the home: `device` is its id there, `name` what people read."""

    device: str
    name: str
    state: str
    availability: str

    @property
    def discovery(self) -> str:
        """Where Home Assistant looks for it."""
        return f"{DISCOVERY}/device/{self.device}/config"


@dataclass(frozen=True)
class ListenerName:
    """What a listener is called: `text` for people, `word` in topics and as its client id."""

    text: str
    word: str

    @property
    def client_id(self) -> str:
        """By which the broker knows it; a second of that name would push it out."""
        return f"{PREFIX}_{self.word}"

    @property
    def availability(self) -> str:
        """The topic that says whether the whole listener is there."""
        return f"{self._base}/availability"

    def stream(self, name: str) -> StreamTopics:
        """The topics of one of its streams; the only stream of a source has no name, and of a file's the folder is left out."""
        if not name:
            return StreamTopics(self.client_id, self.text, f"{self._base}/state", f"{self._base}/sound")
        shown = PurePath(name).stem or name
        word = _word(shown, name)
        base = f"{self._base}/{word}"
        return StreamTopics(f"{self.client_id}_{word}", f"{self.text} {shown}", f"{base}/state", f"{base}/sound")

    @property
    def _base(self) -> str:
        return f"{PREFIX}/{self.word}"


def listener_name(text: str | None = None) -> ListenerName:
    """The name as given, or this computer's. Raises InputError where it is empty, too long or not printable."""
    text = composed(text if text is not None else socket.gethostname().partition(".")[0] or PREFIX)
    if not 1 <= len(text) <= LONGEST or text != text.strip() or printable(text) != text:
        raise InputError(
            f"expected a name of 1 to {LONGEST} printable characters, got {ascii(text)[:80]}: give one, as kitchen",
            options=("mqtt_name",),
        )
    return ListenerName(text, _word(text))


def _word(text: str, whole: str | None = None) -> str:
    """Letters, digits, _ and - that stand for the whole text and no other: as it is, or with a few digits of its hash."""
    whole = text if whole is None else whole
    word = re.sub(r"[^A-Za-z0-9_-]+", "_", text)[:40]
    digits = hashlib.sha256(whole.encode()).hexdigest()[:6]
    return word if word == whole else f"{word.strip('_')}_{digits}".lstrip("_")
