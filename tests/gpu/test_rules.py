"""What breaks CUDA's rules is seen on the pretended driver: each fault planted, and the check that catches it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

EXERCISE = Path(__file__).parent / "exercise.py"


def test_engines_keep_the_rules(compiled: Path, on_gpu: Callable[..., Any]) -> None:
    done, faults = on_gpu(EXERCISE, compiled)
    assert (json.loads(done.stdout), done.stderr, faults) == ({}, "", [])


@pytest.mark.parametrize(
    ("planted", "caught_by"),
    [
        ("no wait", "two enqueues of one execution context at once"),
        ("no use", "elsewhere"),
        ("no copy of the result", "kept"),
        ("half-size buffer", "batches"),
        ("stale shape", "batches"),
        ("first profile alone", "batches"),
        ("no profile set", "batches"),
        ("freed early", "freed with 1 steps still to come"),
        ("context of another thread", "given_back"),
        ("two threads", "together"),
    ],
)
def test_a_planted_fault_is_caught(compiled: Path, on_gpu: Callable[..., Any], planted: str, caught_by: str) -> None:
    """By a check of exercise.py, or by the driver; some end the process, as they would on a GPU."""
    done, faults = on_gpu(EXERCISE, compiled, planted, delay_us=2000)
    checks = json.loads(done.stdout) if done.returncode == 0 else {}
    assert caught_by in {*checks, *faults}, (checks, faults, done.stderr)
