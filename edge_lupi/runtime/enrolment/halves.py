"""One voice or two? Segment embeddings [S, D] in, the two groups that they best fall into out, and how alike their voices are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_lupi.runtime.compiled_student import CompiledStudent
from edge_lupi.runtime.enrolment.voice import voice

__all__ = ["Halves", "halves"]

Array = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Halves:
    """Two groups of segments: the cosine of their voices, near 1 where one person spoke, and which are of the smaller one [S]."""

    likeness: float
    is_odd: NDArray[np.bool_]


def halves(student: CompiledStudent, embeddings: Array) -> Halves:
    """The two voices that segment embeddings [S, D] best fall into.

    Every segment is heard alone; the two groups lie on either side of the mean along the first principal component.
    """
    alone = np.stack([voice(student, embedding[None]) for embedding in embeddings])
    centred = alone - alone.mean(0)
    axis = np.linalg.svd(centred, full_matrices=False)[2][0]
    one = centred @ axis > 0
    if one.all() or not one.any():
        return Halves(1.0, np.zeros(len(one), bool))
    likeness = float(voice(student, embeddings[one]) @ voice(student, embeddings[~one]))
    return Halves(likeness, one if one.sum() <= len(one) / 2 else ~one)
