"""Running averages of voices, for a task that decides beside them. Utterance embeddings [D] in, the voice [1 + D] of a state out.

A stretch of speech joins its voice's average once it is over, so nobody is compared with themselves in the same breath. The
average counts in clips, as training did, and is of the last five minutes or so of a voice's speech. Where a task that names
speakers listens beside, every person has one of their own, which for an enrolled one goes on from what `enroll` kept;
otherwise a stream has one. Every run has averages of its own.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from edge_lupi.runtime.speakers.averages import MOST_CLIPS, VoiceSoFar

__all__ = ["NOBODY", "Voices"]

Array = NDArray[np.float32]
CLIP_SECONDS = 3.0  # of speech make a clip: so long are those of RAVDESS
MOST_PEOPLE = 1000  # of one run; the one who was silent for longest is forgotten
NOBODY = ""  # no task says who speaks


class Voices:
    """The voices of one stream, for one task. `speaking` is who speaks now, as far as a task has decided."""

    def __init__(self, voices: Mapping[str, VoiceSoFar] | None = None) -> None:
        self.speaking = NOBODY
        self._voices = dict(voices or {})

    @property
    def now(self) -> VoiceSoFar | None:
        """What the voice that speaks now was so far; None where it was never heard."""
        return self._voices.get(self.speaking)

    def hear(self, utterance: Array, seconds: float) -> None:
        """A stretch of speech of who speaks now is over: its embedding [D], and how long it was."""
        before, clips = self._voices.pop(self.speaking, None), seconds / CLIP_SECONDS
        if before is None:
            self._voices[self.speaking] = VoiceSoFar(clips, utterance.astype(np.float32))
        else:
            share = clips / (before.clips + clips)
            mean = (before.mean + share * (utterance - before.mean)).astype(np.float32)
            self._voices[self.speaking] = VoiceSoFar(min(before.clips + clips, MOST_CLIPS), mean)
        if len(self._voices) > MOST_PEOPLE:
            del self._voices[next(iter(self._voices))]

    def rename(self, before: str, after: str) -> None:
        """A voice is another name's from now on; that of `NOBODY` is forgotten."""
        voice = self._voices.pop(before, None)
        if voice is not None and after != NOBODY:
            self._voices[after] = voice
        if self.speaking == before:
            self.speaking = after
