"""Progress as log records: how far work has come, for whoever handles the logger `edge_lupi`.

log = logging.getLogger(__name__)
progress(log, "epoch 3/9")                 # INFO: a line, or in a terminal a line over the one before
progress(log, "step 17", often=True)       # DEBUG: for a terminal alone

A record carries `progress` (True) and `last`, whether the next may take its place no more.
"""

from __future__ import annotations

import logging

__all__ = ["progress"]


def progress(log: logging.Logger, words: str, *, last: bool = True, often: bool = False) -> None:
    """Log how far work has come, in a few words."""
    level = logging.DEBUG if often else logging.INFO
    log.log(level, words, extra={"progress": True, "last": last}, stacklevel=2)
