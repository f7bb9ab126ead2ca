"""Enrolled people keep their names, whether the verb listens or a program does: real voices, one file, both ways."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import pytest

from edge_lupi import Gallery, Listener, SoundFile, shipped_bundle
from edge_lupi.bundle.bundle import Bundle
from edge_lupi.errors import InputError
from edge_lupi.sound.audio import read_audio

Cli = Callable[..., CompletedProcess[str]]
READERS = {"ann": "1040/1040-133433-0000", "bob": "1116/1116-132847-0000"}
ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def talk(
    data_root: Path, cli: Cli, sound_file: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """Two people who are enrolled in the default gallery, each from one recording, talk in another one."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    parts = []
    for name, reader in READERS.items():
        recording = data_root / "librispeech_excerpts" / "audio" / reader
        done = cli("enroll", name, "--input", f"{recording}_a.flac")
        assert done.returncode == 0, done.stderr
        parts += [read_audio(f"{recording}_b.flac"), np.zeros(16_000, np.float32)]
    return sound_file("talk.wav", np.concatenate(parts))


def _labels(path: Path, **options: Gallery | None) -> list[tuple[float, str]]:
    with SoundFile(path) as source:
        return [(event.time, event.label) for event in Listener(shipped_bundle("speaker"), **options).listen(source)]


def test_a_program_hears_the_names_that_the_verb_hears(cli: Cli, talk: Path) -> None:
    done = cli("listen", "--input", talk, "--json")
    assert done.returncode == 0, done.stderr
    heard = [json.loads(line) for line in done.stdout.splitlines()]
    by_the_verb = [(event["time"], event["label"]) for event in heard]
    assert {label for _, label in by_the_verb} - {"unknown"} == {"ann", "bob"}
    assert _labels(talk) == _labels(talk, gallery=Gallery.open()) == by_the_verb
    assert not {"ann", "bob"} & {label for _, label in _labels(talk, gallery=None)}


def test_the_example_calls_them_by_name(talk: Path) -> None:
    command = [sys.executable, str(ROOT / "runtime" / "who_speaks.py"), str(talk)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert {line.split(":")[0] for line in done.stdout.splitlines() if line[0] != " "} - {"unknown"} == {"ann", "bob"}


def test_people_of_another_student_are_refused_alike(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    gallery = Gallery(tmp_path / "edge-lupi" / "speakers.json", "another")
    gallery.add("ann", np.eye(128, dtype=np.float32)[:1])
    gallery.save()
    refused = cli("listen", "--input", ROOT / "examples" / "two_voices.flac")
    assert refused.returncode == 1
    for options in ({}, {"gallery": gallery}):
        with pytest.raises(InputError, match="was made with another student") as caught:
            Listener(shipped_bundle("speaker"), **options)
        assert f"edge-lupi: {caught.value} (--gallery)\n" == refused.stderr
    with pytest.raises(InputError, match=r"pass gallery=Gallery\.open\('people\.json'\)"):
        Listener(shipped_bundle("speaker"), gallery="people.json")  # type: ignore[arg-type]
    assert Listener(shipped_bundle("emotion"), "emotion").doubts == []  # which asks nobody's name


def test_a_threshold_that_nobody_has_set_is_told(tmp_path: Path) -> None:
    """A student of few people brings none; at the usual cosine every stranger may be called by somebody's name."""
    shipped = Bundle.load(shipped_bundle("speaker"))
    bundle = replace(shipped, path=tmp_path, tasks={"speaker": replace(shipped.task(), threshold=None)})
    people = Gallery(tmp_path / "people.json", bundle.fingerprint)
    assert Listener(bundle, gallery=people).doubts == []  # nobody can be taken for anybody
    people.add("ann", np.eye(128, dtype=np.float32)[:1])
    assert Listener(shipped, gallery=people).doubts == []
    assert Listener(bundle, gallery=people, threshold=0.5).doubts == []
    (doubt,) = Listener(bundle, gallery=people).doubts
    assert doubt.startswith("nobody has set a threshold for speaker, so a cosine of 0.4 is asked for")
    assert "edge-lupi calibrate" in doubt
