"""Calibrated threshold, as it lies in the bundle's folder, or the user's own: calibration.<task>.json <-> Calibration.

It is made on the device after the bundle, so the manifest does not list it; it says itself which student it is of.
"""

from __future__ import annotations

import logging
import os
import shlex
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edge_lupi.bundle.bundle import SHIPPED
from edge_lupi.bundle.threshold import Threshold
from edge_lupi.disk import locked, read_bounded, write_at_once, writing
from edge_lupi.errors import BundleError, InputError
from edge_lupi.own_folder import data_folder
from edge_lupi.words import json_text, json_value, number

__all__ = ["Calibration", "Point", "kept_calibrations", "load_calibration", "save_calibration", "undo_calibration"]

log = logging.getLogger(__name__)

FORMAT = "edge-lupi calibration"
VERSION = 1
MAX_FILE_BYTES = 1 << 16
MAX_CURVE_BYTES = 1 << 22
MAX_POINTS = 100
ENOUGH_ERRORS = 30  # expected among the trials: "rule of 30", Doddington et al. 2000, doi 10.1016/S0167-6393(99)00080-1
OUTGROWN = 1.5  # times as many people; false accepts grow as fast
ERRORS_IN_SIGHT = 3  # none seen in n trials: the rate is below 3 / n (95 %), Hanley and Lippman-Hand 1983


@dataclass(frozen=True)
class Point:
    """The threshold after so many seconds of speech, its 95 % interval over speakers, and what it was drawn from.

    `false_rejects` is the share of the target trials below it; None where there were none.
    """

    seconds: float
    threshold: float
    low: float
    high: float
    impostor_trials: int
    false_rejects: float | None = None


@dataclass(frozen=True)
class Calibration:
    """Thresholds for one task of one student.

    `false_accepts` is the rate that was asked for. It is per decision among `people`: with impostors all those of the
    gallery, of whom the most alike counts, as when listening; with a trial list one.
    """

    task: str
    fingerprint: str
    false_accepts: float
    people: int
    impostors: int
    points: tuple[Point, ...]

    @property
    def threshold(self) -> Threshold:
        """By the seconds of speech."""
        return Threshold(tuple((point.seconds, point.threshold) for point in self.points))

    @property
    def doubt(self) -> str | None:
        """Why the rate asked for is not to be relied on, in a sentence; None where there were trials enough."""
        trials = min(point.impostor_trials for point in self.points)
        wanted = int(np.ceil(ENOUGH_ERRORS / self.false_accepts))
        if trials >= wanted:
            return None
        least = ERRORS_IN_SIGHT / trials
        bound = f"; so few cannot show a rate below {least:.1%}" if least > self.false_accepts else ""
        return f"a false accept rate of {self.false_accepts:.2%} is known to a third only with {wanted} impostor trials, got {trials} of {self.impostors} people{bound}: bring more recordings"

    def outgrown(self, people: int) -> str | None:
        """Why the rate asked for no longer holds with so many people enrolled, in a sentence; None where it does."""
        if people <= OUTGROWN * self.people:
            return None
        return f"the threshold of task {self.task} was calibrated against {self.people} enrolled, now there are {people}: strangers are taken for somebody about {people / self.people:.1f} times as often as the {self.false_accepts:.2%} asked for; calibrate anew"

    def text(self) -> str:
        """For people."""
        head = f"task {self.task}: false accepts {self.false_accepts:.2%} asked, {self.impostors} impostors against {self.people} enrolled"
        rows = [
            f"{p.seconds:5.1f} s  {p.threshold:9.3f}  {p.low:.3f} to {p.high:.3f}  {p.impostor_trials:8d}  {'–' if p.false_rejects is None else f'{p.false_rejects:.1%}':>13}"
            for p in self.points
        ]
        return "\n".join([head, " speech  threshold  95 % interval    trials  false rejects", *rows])

    def line(self) -> str:
        """For people, in a line."""
        thresholds = [point.threshold for point in self.points]
        return f"{self.task}: false accepts {self.false_accepts:.2%} asked, thresholds {min(thresholds):.3f} to {max(thresholds):.3f} by the seconds of speech, {self.impostors} impostors against {self.people} enrolled"

    def plain(self) -> dict[str, Any]:
        """As the file has it."""
        return {"format": FORMAT, "version": VERSION, **asdict(self)}


def load_calibration(folder: Path, fingerprint: str, task: str) -> Calibration | None:
    """What was calibrated for a task of the bundle in this folder; None where nothing was.

    Raises BundleError for another student's; beside a bundle that comes with the package that is told and passed over.
    """
    file = _file(folder, task)
    if not os.path.lexists(file):
        return None
    try:
        calibration = _calibration(json_value(read_bounded(file, MAX_FILE_BYTES, "a calibration", follow_links=False)))
    except (InputError, ValueError, KeyError, TypeError, AttributeError) as error:
        reason = str(error).splitlines()[0][:160] if str(error) else type(error).__name__
        raise BundleError(f"{file} is not a calibration ({reason}): calibrate anew, or {_undo(folder)}") from error
    if (calibration.fingerprint, calibration.task) != (fingerprint, task):
        if _is_shipped(folder):  # the package was updated
            log.warning(f"{file} was made for another student, and is not used: calibrate anew, or {_undo(folder)}")
            return None
        raise BundleError(f"{file} was made for another student or task: calibrate anew, or {_undo(folder)}")
    return calibration


def kept_calibrations(folder: Path, fingerprint: str, tasks: Iterable[str]) -> dict[str, bytes]:
    """Name -> content of what was calibrated in this folder for this student: compiled again it hears the same."""
    files: dict[str, bytes] = {}
    for task in tasks:
        try:
            calibration = load_calibration(folder, fingerprint, task)
        except BundleError:  # another student's, or damaged
            continue
        if calibration:
            for file in (_file(folder, task), _file(folder, task).with_suffix(".svg")):
                with suppress(InputError):  # no picture
                    files[file.name] = read_bounded(file, MAX_CURVE_BYTES, "a DET curve", follow_links=False)
    return files


def save_calibration(calibration: Calibration, folder: Path, curve: str) -> Path:
    """Write it, and the picture of its curve (SVG), where it is looked for, each at once or not at all."""
    file = _file(folder, calibration.task)
    hint = "the calibration is as it was; calibrate a copy of the bundle in another place"
    with writing(file, hint, options=("out",)), locked(file.parent):
        for name, data in calibration_files(calibration, curve).items():
            write_at_once(file.parent / name, data)
    return file


def calibration_files(calibration: Calibration, curve: str) -> dict[str, bytes]:
    """Name -> content of what is kept of it in a bundle's folder, the calibration itself last."""
    stem = f"calibration.{calibration.task}"
    content = json_text(calibration.plain(), indent=2) + "\n"
    return {f"{stem}.svg": curve.encode(), f"{stem}.json": content.encode()}


def undo_calibration(folder: Path, task: str) -> Path | None:
    """Take away what was calibrated, and its curve; gives the file that was there, None where there was none."""
    file = _file(folder, task)
    if not os.path.lexists(file):
        return None
    try:
        for each in (file, file.with_suffix(".svg")):
            each.unlink(missing_ok=True)
    except OSError as error:
        raise InputError(f"could not remove {file} ({error.strerror}): check the folder's permissions") from error
    return file


def _file(folder: Path, task: str) -> Path:
    """In the bundle's folder; of a bundle that comes with the package in the user's own, as that is kept when it is updated."""
    name = f"calibration.{task}.json"
    if _is_shipped(folder):
        with suppress(InputError):  # a user without a home
            return data_folder() / name
    return folder / name


def _is_shipped(folder: Path) -> bool:
    return folder.resolve().parent == SHIPPED


def _undo(folder: Path) -> str:
    own = "" if _is_shipped(folder) else f"{shlex.quote(str(folder))} "
    return f"undo it with edge-lupi calibrate {own}--undo"


def _calibration(content: Mapping[str, Any]) -> Calibration:
    """Raises ValueError, KeyError, TypeError or InputError where the content is not what `plain` gives."""
    if content["format"] != FORMAT or content["version"] != VERSION:
        raise ValueError(f"expected {FORMAT} of version {VERSION}")
    if not isinstance(content["points"], list) or not 1 <= len(content["points"]) <= MAX_POINTS:
        raise ValueError(f"expected 1 to {MAX_POINTS} points")
    points = tuple(
        Point(
            _number(point["seconds"]),
            _number(point["threshold"]),
            _number(point["low"]),
            _number(point["high"]),
            _count(point["impostor_trials"]),
            None if point["false_rejects"] is None else _number(point["false_rejects"]),
        )
        for point in content["points"]
    )
    calibration = Calibration(
        str(content["task"]),
        str(content["fingerprint"]),
        _number(content["false_accepts"]),
        _count(content["people"]),
        _count(content["impostors"]),
        points,
    )
    if not 0 < calibration.false_accepts < 1:
        raise ValueError("expected a rate between 0 and 1")
    Threshold(calibration.threshold.points)
    return calibration


def _number(value: Any) -> float:
    return number(value, -1e9, 1e9)


def _count(value: Any) -> int:
    if type(value) is not int or not 1 <= value < 1 << 40:
        raise ValueError(f"expected a count, got {value!r:.80}")
    return value
