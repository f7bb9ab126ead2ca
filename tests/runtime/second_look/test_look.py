"""A second look at real conversations: fewer made-up speakers, less confusion; and what the command line does with it."""

import re
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import pytest
import soundfile

from edge_lupi import Block, Listener, shipped_bundle
from edge_lupi.metrics.diarisation import diarisation_error
from edge_lupi.rttm import Stretch, read_rttm
from edge_lupi.runtime.outputs.turns import Teller, Turn
from edge_lupi.runtime.second_look.look import look_again
from edge_lupi.runtime.second_look.memory import Memory
from edge_lupi.runtime.speakers.gallery import Gallery
from edge_lupi.vectors import unit

EXAMPLES = Path(__file__).resolve().parents[3] / "examples"
TWO_VOICES = EXAMPLES / "two_voices.flac"
Cli = Callable[..., CompletedProcess[str]]
Sound = tuple[np.ndarray, list[Stretch]]


@pytest.fixture(scope="module")
def meeting(data_root: Path) -> Sound:
    """Thirteen readers of the training part, four turns of 2 to 8 s each."""
    folder = data_root / "librispeech_excerpts" / "audio"
    names = sorted(path.name for path in folder.iterdir() if path.is_dir())[20:33]
    draw = np.random.default_rng(0)
    sounds, spoken = list[np.ndarray](), list[Stretch]()
    for number in range(52):
        name = names[number % 13]
        whole = np.concatenate([soundfile.read(path, dtype="float32")[0] for path in sorted((folder / name).iterdir())])
        length = int(draw.uniform(2, 8) * 16_000)
        start = int(draw.integers(max(1, len(whole) - length)))
        sounds.append(whole[start : start + length])
        before = spoken[-1].end_seconds if spoken else 0.0
        spoken.append(Stretch(before, before + len(sounds[-1]) / 16_000, name))
    return np.concatenate(sounds), spoken


def _looked(listener: Listener, samples: np.ndarray) -> tuple[list[Turn], list[Turn]]:
    """Turns told live, and those of the second look."""
    memory = Memory(listener)
    blocks = (Block(samples[start : start + 8000]) for start in range(0, len(samples), 8000))
    with Teller(listener.segmentations, [memory]) as teller:
        for event in listener.begin().listen(blocks, encoded=memory.encoded):
            teller.event(event)
    return memory.turns_live, look_again(memory)


def _stretches(turns: list[Turn]) -> list[Stretch]:
    return [Stretch(turn.start_seconds, turn.end_seconds, turn.label) for turn in turns]


@pytest.mark.real_speech
def test_made_up_speakers_are_joined(meeting: Sound) -> None:
    """Voices that were taken for one another live are told apart; 13 or nearly so many are found."""
    samples, spoken = meeting
    live, final = _looked(Listener(shipped_bundle("speaker"), gallery=None), samples)
    before, after = (diarisation_error(spoken, _stretches(turns)) for turns in (live, final))
    assert after.confused_seconds < 0.8 * before.confused_seconds
    assert 11 <= len({turn.label for turn in final}) <= 14
    assert after.rate <= before.rate
    assert [turn.label for turn in final][:1] == ["speaker 1"]
    assert all(a.end_seconds <= b.start_seconds + 1e-6 for a, b in pairwise(final))


@pytest.mark.real_speech
def test_enrolled_people_keep_their_names(meeting: Sound, tmp_path: Path) -> None:
    samples, spoken = meeting
    listener = Listener(shipped_bundle("speaker"), gallery=None)
    gallery = Gallery(tmp_path / "people.json", listener.student.bundle.fingerprint)
    gallery.add(
        "Ann", unit(listener.student.utterance(samples[: int(spoken[0].end_seconds * 16_000)]).embedding[0])[None]
    )
    live, final = _looked(Listener(shipped_bundle("speaker"), gallery=gallery), samples)
    assert diarisation_error(spoken, _stretches(final)).matched["Ann"] == spoken[0].label
    assert "speaker 1" in {turn.label for turn in final}
    assert "Ann" in {turn.label for turn in live}


def test_who_speaks_too_shortly_is_left_as_told_live() -> None:
    samples = soundfile.read(TWO_VOICES, dtype="float32", frames=32_000)[0]
    live, final = _looked(Listener(shipped_bundle("speaker"), gallery=None), samples)
    assert live == final != []


def test_nothing_heard_is_nothing_to_look_at() -> None:
    listener = Listener(shipped_bundle("speaker"), gallery=None)
    assert _looked(listener, np.zeros(16_000 * 3, np.float32)) == ([], [])


def test_files_hold_the_second_look_and_the_lines_do(cli: Cli, tmp_path: Path) -> None:
    rttm, srt = tmp_path / "a.rttm", tmp_path / "a.srt"
    printed = cli("listen", "--input", TWO_VOICES, "--final")
    written = cli("listen", "--input", TWO_VOICES, "--final", "--task", "emotion,speaker", "--rttm", rttm, "--srt", srt)
    assert printed.returncode == written.returncode == 0, printed.stderr + written.stderr
    assert "second look: voices found 2, told live 2" in printed.stderr
    (spoken,), (found,) = read_rttm(EXAMPLES / "two_voices.rttm").values(), read_rttm(rttm).values()
    assert diarisation_error(spoken, found).rate < 0.1
    assert [line.split()[4:6] for line in printed.stdout.splitlines()] == [
        ["speaker", turn.label[-1]] for turn in found
    ]
    assert len(re.findall("-->", srt.read_text())) == len(found)
    assert "speaker" not in written.stdout


def test_what_cannot_be_looked_at_is_refused(cli: Cli) -> None:
    no_voices = cli("listen", "--input", TWO_VOICES, "--final", "--task", "emotion")
    assert no_voices.returncode == 1
    assert "expected a task that compares voices to look again at who spoke, got emotion: " in no_voices.stderr
    nowhere = cli("listen", "--input", TWO_VOICES, "--final", "--json")
    assert nowhere.returncode == 1
    assert "beside --final and --json, got none" in nowhere.stderr
