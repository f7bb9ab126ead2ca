"""Calibration of a threshold to a false accept rate: a bundle and recordings in, its Calibration and DET curve on disk out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from edge_lupi.bundle.bundle import Bundle
from edge_lupi.bundle.calibration import Calibration, Point, calibration_files, save_calibration
from edge_lupi.bundle.engines import FOLDER, is_engine_file
from edge_lupi.data.trials import Trial
from edge_lupi.disk import kind_of, write_folder, writing
from edge_lupi.errors import InputError
from edge_lupi.evaluate.impostors import Scores, scores_of_impostors, scores_of_trials
from edge_lupi.metrics.bootstrap import bootstrap
from edge_lupi.metrics.det_svg import det_svg
from edge_lupi.metrics.verification import det, rates, threshold_for
from edge_lupi.runtime.compiled_student import CompiledStudent
from edge_lupi.runtime.speakers.gallery import Gallery
from edge_lupi.task import speaker_task

__all__ = ["calibrate_with_impostors", "calibrate_with_trials", "calibrated", "keep"]

LEAST_IMPOSTORS = 2


def calibrate_with_trials(bundle: Bundle, trials: Sequence[Trial], false_accepts: float) -> tuple[Calibration, str]:
    """One voice against one recording; gives the calibration and its DET curve (SVG)."""
    _check(false_accepts)
    student = _student(bundle)
    scores = scores_of_trials(student, trials)
    return calibrated(scores, false_accepts, student), _curve(scores, false_accepts, student)


def calibrate_with_impostors(
    bundle: Bundle, gallery: Gallery, people: Mapping[str, Iterable[Path]], false_accepts: float
) -> tuple[Calibration, str]:
    """People who are not enrolled against all who are; gives the calibration and its DET curve (SVG)."""
    _check(false_accepts)
    student = _student(bundle)
    scores = scores_of_impostors(student, gallery, people)
    calibration = calibrated(scores, false_accepts, student, people=len(gallery.names))
    return calibration, _curve(scores, false_accepts, student)


def calibrated(
    scores: Sequence[Scores], false_accepts: float, student: CompiledStudent, *, people: int = 1
) -> Calibration:
    """Thresholds at which impostors like these are accepted that often.

    Durations with too few impostor trials to know such a rate at all are left out; where all have, the one with most stays.
    """
    _check(false_accepts)
    impostors = max(len(of_seconds.impostors) for of_seconds in scores)
    if impostors < LEAST_IMPOSTORS:
        raise InputError(
            f"expected speech of at least {LEAST_IMPOSTORS} impostors, got {impostors}: bring recordings of more people"
        )
    most = max(scores, key=_impostor_trials)
    usable = [
        of_seconds
        for of_seconds in scores
        if of_seconds is most or _impostor_trials(of_seconds) >= 1 / false_accepts - 1
    ]
    points = tuple(_point(of_seconds, false_accepts) for of_seconds in usable)
    return Calibration(student.task.name, student.bundle.fingerprint, false_accepts, people, impostors, points)


def keep(calibration: Calibration, curve: str, bundle: Bundle, out: Path | None = None) -> Path:
    """Write both into the bundle's folder, or all of it into a copy at `out`, at once; gives the calibration's file."""
    if out is None:
        return save_calibration(calibration, bundle.path, curve)
    if kind_of(out) != "nothing":
        raise InputError(f"expected a folder that is not there yet, got {out}: choose another", options=("out",))
    made = calibration_files(calibration, curve)
    with writing(out, "free some space or choose another place", options=("out",)):
        write_folder(out, {**bundle.files, **bundle.papers, **_engine_files(bundle), **made})
    return out / list(made)[-1]


def _engine_files(bundle: Bundle) -> dict[str, Path]:
    """What was built of the bundle for devices, by its name in the bundle's folder."""
    files = (bundle.path / FOLDER).iterdir() if bundle.engines else ()
    return {f"{FOLDER}/{file.name}": file for file in files if is_engine_file(file)}


def _check(false_accepts: float) -> None:
    if not 0 < false_accepts < 1:
        raise InputError(f"expected a false accept rate between 0 and 1, as 0.01, got {false_accepts}")


def _student(bundle: Bundle) -> CompiledStudent:
    return CompiledStudent(bundle, speaker_task(bundle).name)


def _impostor_trials(scores: Scores) -> int:
    return int((~scores.targets).sum())


def _point(scores: Scores, false_accepts: float) -> Point:
    values, speakers = scores.values[~scores.targets], scores.speakers[~scores.targets]
    threshold = bootstrap(lambda chosen: threshold_for(values[chosen], false_accepts), groups=speakers)
    value, low, high = np.clip([threshold.value, threshold.low, threshold.high], 1e-3, 1).tolist()
    missed = rates(scores.values, scores.targets, value).false_rejects if scores.targets.any() else None
    return Point(scores.seconds, value, low, high, len(values), missed)


def _curve(scores: Sequence[Scores], false_accepts: float, student: CompiledStudent) -> str:
    curves = [
        (f"{found.seconds:g} s of speech", det(found.values, found.targets))
        for found in scores
        if found.targets.any() and not found.targets.all()
    ]
    return det_svg(f"{student.bundle.path.name}, task {student.task.name}", curves, false_accepts)
