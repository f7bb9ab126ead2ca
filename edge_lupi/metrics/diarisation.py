"""Diarisation error rate: two lists of stretches, spoken and found, in; the share of the time that is wrong out.

The measure of NIST's Rich Transcription evaluations (md-eval; RT-09 evaluation plan, 2009): the time missed, heard where
nobody spoke, or given to the wrong speaker, over the time spoken, after labels and speakers were matched one to one so
that most time agrees. Around every beginning and end of the reference a collar is left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_lupi.errors import InputError
from edge_lupi.rttm import Stretch

__all__ = ["DiarisationError", "diarisation_error"]

Floats = NDArray[np.float64]
Marks = NDArray[np.bool_]


@dataclass(frozen=True)
class DiarisationError:
    """Seconds outside the collars; `matched` is found label -> speaker."""

    spoken_seconds: float
    missed_seconds: float
    alarmed_seconds: float
    confused_seconds: float
    matched: dict[str, str]

    @property
    def rate(self) -> float:
        """The diarisation error rate, a fraction of the time spoken."""
        return (self.missed_seconds + self.alarmed_seconds + self.confused_seconds) / self.spoken_seconds


def diarisation_error(
    spoken: Sequence[Stretch], found: Sequence[Stretch], *, collar_seconds: float = 0.25
) -> DiarisationError:
    """Compare `found` with the reference `spoken`. The collar lies on both sides of every end in the reference."""
    ends = [seconds for stretch in spoken for seconds in (stretch.start_seconds, stretch.end_seconds)]
    collars = [(seconds - collar_seconds, seconds + collar_seconds) for seconds in ends]
    cuts = np.unique([*ends, *(c for collar in collars for c in collar), *_ends(found)])
    starts, seconds = cuts[:-1], np.diff(cuts)
    for low, high in collars:
        seconds = np.where((starts >= low) & (starts < high), 0.0, seconds)
    speakers, labels = _names(spoken), _names(found)
    says, said = _marks(spoken, speakers, starts), _marks(found, labels, starts)
    total = float((says.sum(0) * seconds).sum())
    if total <= 0:
        raise InputError("expected reference speech outside the collars, got none: give a longer reference")
    pairs = best_pairs(np.asarray((says * seconds) @ said.T, np.float64))
    agreed = sum((says[row] & said[column] for row, column in pairs), np.zeros(len(starts), np.int64))
    wanted, given = says.sum(0), said.sum(0)
    return DiarisationError(
        total,
        float((np.maximum(wanted - given, 0) * seconds).sum()),
        float((np.maximum(given - wanted, 0) * seconds).sum()),
        float(((np.minimum(wanted, given) - agreed) * seconds).sum()),
        {labels[column]: speakers[row] for row, column in pairs},
    )


def best_pairs(worth: Floats) -> list[tuple[int, int]]:
    """The one-to-one pairs (row, column) of worth [R, C] of greatest sum, those worth nothing left out.

    The Hungarian method with shortest paths (Kuhn 1955; Jonker and Volgenant 1987): a row after another is given a
    column, and those before it move on where that costs least.
    """
    cost = -(worth if worth.shape[0] <= worth.shape[1] else worth.T)
    rows, columns = cost.shape
    row_price, column_price = np.zeros(rows + 1), np.zeros(columns + 1)
    owner = np.full(columns + 1, rows)  # of each column; column `columns` stands for the row to be placed
    for row in range(rows):
        owner[columns], column = row, columns
        reach, came_from, done = np.full(columns, np.inf), np.full(columns, columns), np.zeros(columns + 1, np.bool_)
        while owner[column] != rows:
            done[column] = True
            open_ = np.flatnonzero(~done[:columns])
            slack = cost[owner[column], open_] - row_price[owner[column]] - column_price[open_]
            nearer = slack < reach[open_]
            reach[open_[nearer]], came_from[open_[nearer]] = slack[nearer], column
            step = reach[open_].min()
            row_price[owner[done]] += step
            column_price[done] -= step
            reach[open_] -= step
            column = int(open_[reach[open_].argmin()])
        while column != columns:
            owner[column], column = owner[came_from[column]], int(came_from[column])
    pairs = [(int(owner[c]), c) if worth.shape[0] <= worth.shape[1] else (c, int(owner[c])) for c in range(columns)]
    return [(r, c) for r, c in pairs if r < worth.shape[0] and c < worth.shape[1] and worth[r, c] > 0]


def _names(stretches: Iterable[Stretch]) -> list[str]:
    return sorted({stretch.label for stretch in stretches})


def _ends(stretches: Iterable[Stretch]) -> list[float]:
    return [seconds for stretch in stretches for seconds in (stretch.start_seconds, stretch.end_seconds)]


def _marks(stretches: Iterable[Stretch], names: Sequence[str], starts: Floats) -> Marks:
    """Who speaks in which piece, bool [names, pieces]."""
    marks = np.zeros((len(names), len(starts)), np.bool_)
    for stretch in stretches:
        first, last = np.searchsorted(starts, (stretch.start_seconds, stretch.end_seconds))
        marks[names.index(stretch.label), first:last] = True
    return marks
