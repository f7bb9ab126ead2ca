"""Enrolment progress at a microphone: how much speech was heard and how loud it is now, as log records."""

from __future__ import annotations

import logging
import time

from edge_lupi.progress import progress
from edge_lupi.runtime.enrolment.voice import Speech

__all__ = ["Meter"]

log = logging.getLogger(__name__)

REDRAWN_SECONDS = 0.2
QUIETEST_DB, DB_A_MARK = -80.0, 5.0


class Meter:
    """Called with the share of the speech that was heard, in per cent: logged often for a terminal, and once for every ten."""

    def __init__(self, speech: Speech, enough_seconds: float) -> None:
        self._speech, self._enough_seconds = speech, enough_seconds
        self._told, self._due_seconds = -1, 0.0

    def __call__(self, percent: float) -> None:
        """Log it where it is due."""
        step, now_seconds = int(percent), time.monotonic()
        is_first, often = self._told < 0, step // 10 == self._told // 10
        if is_first:
            log.info(f"speak now: {self._enough_seconds:.0f} s of speech are needed; Ctrl-C ends")
        if often and now_seconds < self._due_seconds:
            return
        level_db = max(self._speech.now_db, QUIETEST_DB)
        meter = "#" * round((level_db - QUIETEST_DB) / DB_A_MARK)
        words = f"{step:3} % of the speech needed, now {level_db:3.0f} dB {meter}"
        progress(log, words, last=step >= 100, often=often)
        self._told, self._due_seconds = step, now_seconds + REDRAWN_SECONDS
