"""Tasks: what they cannot be, and their kind, which is decided in one place."""

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from edge_lupi.errors import InputError
from edge_lupi.task import Task, kind_of_task, speaker_task, verifies

PACKAGE = Path(__file__).resolve().parents[1] / "edge_lupi"
MOODS = Task("mood", "classification", ("calm", "angry"))


@pytest.mark.parametrize(
    ("name", "kind", "labels"),
    [("Speaker", "verification", ()), ("", "verification", ()), ("a/b", "verification", ()), ("x", "classification", ("a",)), ("x", "guess", ())],
)  # fmt: skip
def test_what_a_task_cannot_be(name: str, kind: Any, labels: tuple[str, ...]) -> None:
    with pytest.raises(InputError):
        Task(name, kind, labels)


def test_a_task_verifies_or_classifies() -> None:
    voices = Task("speaker", "verification")
    assert (voices.verifies, voices.classifies) == (True, False)
    assert (MOODS.verifies, MOODS.classifies) == (False, True)
    assert (kind_of_task("speaker"), kind_of_task("mood")) == ("verification", "classification")
    assert (verifies("speaker"), verifies("mood"), verifies(None)) == (True, False, False)


def test_a_students_fingerprint_does_not_change() -> None:
    """It holds the repr."""
    assert (
        repr(MOODS)
        == "Task(name='mood', kind='classification', labels=('calm', 'angry'), threshold=None, temperature=1.0)"
    )


def test_a_bundle_without_voices_has_no_speaker_task() -> None:
    moods = SimpleNamespace(path=Path("moods.lupi"), tasks={"mood": MOODS})
    with pytest.raises(InputError, match=r"expected a bundle for speakers, got moods\.lupi, which knows mood"):
        speaker_task(moods)


def test_nobody_else_compares_kinds() -> None:
    """Where a second place asks for the kind by a word, a second task that compares voices is forgotten there."""
    asks = re.compile(r"""[!=]= ["'](verification|classification)["']|\btask [!=]= ["']speaker""")
    found = [str(path) for path in PACKAGE.rglob("*.py") if path.name != "task.py" and asks.search(path.read_text())]
    assert found == []
