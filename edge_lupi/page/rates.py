"""Rates of requests by who asks: an address in, whether there is time for one more out. A flood from one keeps out no other."""

from __future__ import annotations

import time
from collections import OrderedDict
from dataclasses import dataclass, field

__all__ = ["Rates"]

MOST_PEERS = 256  # addresses that are remembered


@dataclass
class Rates:
    """`per_second` of each address in the long run, `burst` at once. For one thread."""

    per_second: float
    burst: float
    _left: OrderedDict[str, tuple[float, float]] = field(default_factory=OrderedDict)  # requests, and when that was so

    def admits(self, peer: str) -> bool:
        """Whether this address may ask once more now; counts it if so."""
        now_seconds = time.monotonic()
        left, since_seconds = self._left.pop(peer, (self.burst, now_seconds))
        left = min(self.burst, left + self.per_second * (now_seconds - since_seconds))
        self._left[peer] = (left - 1 if left >= 1 else left, now_seconds)
        if len(self._left) > MOST_PEERS:
            self._left.popitem(last=False)
        return left >= 1
