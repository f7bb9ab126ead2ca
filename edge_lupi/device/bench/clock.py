"""Wall time and thread time by part: calls in, the seconds that each part took for itself out.

Wall time is what a listener waits for; thread time is what its own work takes. Where they part, the thread was kept from
the processor, or waited for another device. A part's time is without that of the parts it calls.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Clock", "Times"]

Times = NDArray[np.float64]  # [..., 2]: wall, thread


class Clock:
    """Seconds by part since `start`. Plain numbers, as an array for each would take longer than some parts."""

    def __init__(self) -> None:
        self._spent: dict[str, list[float]] = {}
        self._called = [0.0, 0.0]  # what the parts that the present one called took

    @property
    def parts(self) -> list[str]:
        """In the order in which they were named."""
        return list(self._spent)

    def name(self, *parts: str) -> None:
        """Parts, in the order in which they are to be told."""
        for part in parts:
            self._spent.setdefault(part, [0.0, 0.0])

    def start(self) -> None:
        """From zero."""
        self._spent = {part: [0.0, 0.0] for part in self._spent}

    def read(self) -> Times:
        """Seconds [parts, 2]."""
        return np.array(list(self._spent.values()))

    def timed(self, part: str, work: Callable[..., Any]) -> Callable[..., Any]:
        """The same work, its time added to that part's; it gives what it gave before."""
        self.name(part)

        def done(*given: Any) -> Any:
            before, self._called = self._called, [0.0, 0.0]
            wall, thread = time.perf_counter(), time.thread_time()
            result = work(*given)
            wall, thread = time.perf_counter() - wall, time.thread_time() - thread
            spent = self._spent[part]
            spent[0] += wall - self._called[0]
            spent[1] += thread - self._called[1]
            self._called = [before[0] + wall, before[1] + thread]
            return result

        return done
