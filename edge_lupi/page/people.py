"""Known speakers as a page changes them: a number gets a name, somebody is forgotten. Disk first, then the running listener.

A page's thread waits for the disk; the listener's is only asked, between two blocks, for a voice and to know the people anew.
"""

from __future__ import annotations

from dataclasses import dataclass
from threading import Lock

from edge_lupi.errors import InputError
from edge_lupi.page.enrolling import Enrolling
from edge_lupi.page.output import PageOutput
from edge_lupi.runtime.listening.listening import Listening
from edge_lupi.runtime.speakers.gallery import Gallery
from edge_lupi.runtime.speakers.names import checked_name
from edge_lupi.runtime.trackers.tracker import UNKNOWN, Stranger
from edge_lupi.words import composed, json_text

__all__ = ["LEAST_SECONDS", "People"]

LEAST_SECONDS = 3.0  # of speech, as `enroll` asks for


@dataclass(frozen=True, eq=False)
class People:
    """Whom a run knows. `gallery` is the one that its trackers look into, None where no task compares voices."""

    gallery: Gallery | None
    listening: Listening
    output: PageOutput
    turn: Lock  # one change at a time
    enrolling: Enrolling | None = None  # None where no task compares voices

    @property
    def names(self) -> list[str]:
        """Who is known."""
        return self.gallery.names if self.gallery else []

    def name(self, label: str, name: str, stream: str = "") -> str:
        """Call a number, as `speaker 2` of a stream, by a name from now on, and keep the voice. Raises InputError."""
        name = checked_name(name)
        with self.turn:
            gallery = self._gallery()
            voice = self.output.between.ask(lambda: self._voice(label, stream))
            with Gallery.changed(gallery.path, gallery.fingerprint) as stored:
                if name in stored.names:
                    raise InputError(
                        f"expected a name that nobody has yet, got {name!r}: choose another, or forget them first"
                    )
                stored.add(name, voice.voice[None])
            self.output.between.tell(lambda: self._know(stored, label, name, stream))
        return f"{label} is {name} from now on"

    def enroll(self, name: str, stream: str = "") -> str:
        """Learn the voice of who speaks from now on, and call them by a name. Raises InputError."""
        name, gallery = checked_name(name), self._gallery()
        assert self.enrolling
        if name in gallery.names:
            raise InputError(f"expected a name that nobody has yet, got {name!r}: choose another, or forget them first")
        said = self.enrolling.enroll(name, gallery, stream)
        self.read_anew()
        return said

    def read_anew(self) -> None:
        """Know from the next block on whom the file knows. Raises InputError."""
        with self.turn:
            gallery = self._gallery()
            stored = Gallery.load(gallery.path, gallery.fingerprint)
            self.output.between.tell(lambda: gallery.become(stored))

    def rename(self, old: str, new: str) -> str:
        """Call somebody who is known otherwise. Raises InputError."""
        with self.turn:
            gallery = self._gallery()
            self.output.between.check_room()
            with Gallery.changed(gallery.path, gallery.fingerprint) as stored:
                stored.rename(old, new)
            self.output.between.tell(lambda: self._know_otherwise(stored, composed(old), composed(new)))
        return f"{composed(old)} is {composed(new)} from now on"

    def forget(self, name: str) -> str:
        """Forget somebody: their voice, and the recordings of them if any were kept. Raises InputError."""
        with self.turn:
            gallery = self._gallery()
            self.output.between.check_room()
            with Gallery.changed(gallery.path, gallery.fingerprint) as stored:
                stored.remove(name)
            self.output.between.tell(lambda: self._know_otherwise(stored, composed(name), UNKNOWN))
        return f"{composed(name)} is forgotten"

    def _gallery(self) -> Gallery:
        if self.gallery is None:
            raise InputError(
                "expected a task that tells speakers, got none: listen for the task speaker", options=("task",)
            )
        return self.gallery

    def _voice(self, label: str, stream: str) -> Stranger:
        stranger = self.listening.stranger(label, stream)
        if stranger is None:
            raise InputError(f"expected somebody who has a number, such as 'speaker 1', got {ascii(label)[:80]}")
        if stranger.seconds < LEAST_SECONDS:
            raise InputError(
                f"expected at least {LEAST_SECONDS:.0f} s of speech of {label}, got {stranger.seconds:.1f} s: let them speak longer"
            )
        return stranger

    def _know_otherwise(self, stored: Gallery, old: str, new: str) -> None:
        """In the listener's thread: from the next block on, and in all that is kept for pages of what was before."""
        self._gallery().become(stored)
        self.listening.renamed(old, new)
        self.output.history.renamed(old, new)

    def _know(self, stored: Gallery, label: str, name: str, stream: str) -> None:
        """In the listener's thread: from the next block on, and for pages in its place among the events."""
        self._gallery().become(stored)
        self.listening.renamed(label, name, stream)
        self.output.history.add(json_text({"label": label, "name": name, "stream": stream}), "renamed")
