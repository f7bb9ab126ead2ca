"""The voice gate on real speech, synthetic speech, noise and silence."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from edge_lupi.bundle.graph_walk import refuse_external_data
from edge_lupi.errors import InputError
from edge_lupi.runtime.engines.onnx_runtime import OnnxEngine
from edge_lupi.runtime.front_end import FftFrontEnd
from edge_lupi.runtime.gates import silero
from edge_lupi.runtime.gates.gain import Gain
from edge_lupi.runtime.gates.make import make_gate
from edge_lupi.runtime.gates.silero import VoiceGate
from edge_lupi.runtime.gates.silero_graph import GRAPH, NOTHING, Run, judge, spectra

EXAMPLES = Path(__file__).resolve().parents[3] / "examples"
SILERO = Path(__file__).with_name("silero_vad_16k_sequence.onnx")  # as Silero publishes it
SCRIPT = Path(__file__).resolve().parents[3] / "runtime" / "silero_rows.py"
FRONT_END = FftFrontEnd()


def _said(samples: np.ndarray, frames: int | None = None, gate: VoiceGate | None = None) -> np.ndarray:
    """Speech or not of every frame [F], pushed so many frames at a time."""
    gate = gate or VoiceGate()
    count = len(samples) // 160
    log_mel = FRONT_END(np.concatenate([np.zeros(240, np.float32), samples[: count * 160]]))
    step = frames or count
    return np.concatenate(
        [
            gate.push(log_mel[:, first : first + step], samples[first * 160 : min(count, first + step) * 160])
            for first in range(0, count, step)
        ]
    )


@pytest.fixture(scope="module")
def speech() -> np.ndarray:
    return soundfile.read(EXAMPLES / "two_voices.flac", dtype="float32")[0][: 10 * 16_000]


def _noise(seconds: float, level_db: float) -> np.ndarray:
    random = np.random.default_rng(0)
    return (random.standard_normal(round(seconds * 16_000)) * 10 ** (level_db / 20)).astype(np.float32)


@pytest.mark.parametrize("frames", [1, 3, 7, 50, 100])
def test_the_answer_does_not_depend_on_the_blocks(speech: np.ndarray, frames: int) -> None:
    noisy = np.concatenate([np.zeros(16_000, np.float32), speech, _noise(1.0, -30)])
    np.testing.assert_array_equal(_said(noisy, frames), _said(noisy))


@pytest.mark.parametrize("frames", [1, 16, 50])
def test_frames_and_chunks_lie_the_same_after_every_sixteenth_frame(frames: int) -> None:
    """Whatever was looked up: a frame has the newest chunk that is whole at its end, and ends in the first that is not."""
    for first in range(0, 160 * 200, 160):
        layout = silero._layout(first % silero.SAME_SAMPLES, frames)
        ends = np.arange(first + 160, first + 160 * frames + 1, 160)
        np.testing.assert_array_equal(layout.newest, ends // 512 - first // 512)
        before = first // 512 * 512 // 160  # frames whose chunks were whole before
        for chunk, own in enumerate(layout.frames, first // 512):
            assert before + own.start == chunk * 512 // 160
            assert before + own.stop == (chunk + 1) * 512 // 160


def test_hears_a_voice_and_not_the_noise_under_it(speech: np.ndarray) -> None:
    said = _said(np.concatenate([_noise(5.0, -35), speech + _noise(10.0, -35), _noise(5.0, -35)]))
    assert not said[:480].any()
    assert said[500:1500].mean() > 0.8
    assert not said[1570:].any()


@pytest.mark.parametrize("level_db", [-200, -50, -20])
def test_noise_and_silence_are_no_voice(level_db: float) -> None:
    assert not _said(_noise(10.0, level_db)).any()


def test_silence_does_not_run_the_graph(speech: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    gate, chunks = VoiceGate(), []
    monkeypatch.setattr(silero, "judge", lambda runs: (chunks.extend(run.chunks for run in runs), judge(runs))[1])
    _said(_noise(60.0, -50), 50, gate)
    first = sum(chunks)
    assert first < 250  # of 1,875: the first seconds, until the noise of the room is known
    _said(_noise(30.0, -50), 50, gate)
    assert sum(chunks) == first
    _said(speech, 50, gate)
    assert sum(chunks) > first + 200


def test_after_a_gap_it_begins_anew(speech: np.ndarray) -> None:
    gate = VoiceGate()
    _said(speech[: 16_000 * 3 + 160 * 7], 50, gate)
    gate.reset()
    after = speech[16_000 * 5 :]
    fresh = VoiceGate()
    fresh._loud.floor_db = gate._loud.floor_db  # what is kept is the noise of the room
    np.testing.assert_array_equal(_said(after, 50, gate), _said(after, 50, fresh))


def test_an_unknown_gate_is_one_sentence() -> None:
    with pytest.raises(InputError, match="expected a gate voice or energy, got 'ear'"):
        make_gate("ear")


def test_real_speech_in_noise(data_root: Path, sound_file: Callable[..., Any]) -> None:
    """A reader of the training part, in white noise 5 dB below: what is heard is what is heard without it."""
    path = next((data_root / "librispeech_excerpts" / "audio" / "103").glob("*.flac"))
    clean = soundfile.read(path, dtype="float32")[0]
    rms_db = 10 * np.log10(np.mean(clean**2))
    loud, noisy = _said(clean), _said(clean + _noise(len(clean) / 16_000, rms_db - 5)[: len(clean)])
    assert (loud == noisy).mean() > 0.85
    assert noisy.mean() > 0.6


@pytest.mark.parametrize("chunks", [1, 2, 15, 16, 100])
def test_the_shipped_graph_says_what_silero_says(speech: np.ndarray, chunks: int) -> None:
    """Silero's own graph, beside an FFT and its weights as products of rows (runtime/silero_rows.py)."""
    own, ours = (OnnxEngine(path.read_bytes(), name=path.name, check=refuse_external_data) for path in (SILERO, GRAPH))
    states = [{name: np.zeros((1, 1, 128), np.float32) for name in "hc"} for _ in range(2)]
    samples = np.concatenate([np.zeros(64, np.float32), speech])
    for first in range(0, 100, chunks):
        starts = range(first * 512, min(100, first + chunks) * 512, 512)
        inputs = np.stack([samples[start : start + 576] for start in starts])
        order = {"order": np.arange(len(starts))[:, None], "lengths": np.array([len(starts)], np.int32)}
        heard = {"input": inputs}, {"spectra": spectra(np.pad(inputs, ((0, 0), (0, 64)))), **order}
        answers = [g.run({**given, **state}) for g, given, state in zip((own, ours), heard, states, strict=True)]
        states = [{"h": out["hn"], "c": out["cn"]} for out in answers]
        np.testing.assert_allclose(answers[1]["speech_probs"].ravel(), answers[0]["speech_probs"].ravel(), atol=2e-5)
        np.testing.assert_allclose(answers[1]["hn"], answers[0]["hn"], atol=2e-5)


def test_runs_of_several_streams_are_what_each_is_alone(speech: np.ndarray) -> None:
    """Of other lengths, with states of their own: a row hears nothing of the others."""
    before = judge([Run(speech[: 64 + 512 * 20], NOTHING, Gain())])[0].state
    parts = [(0, 16, NOTHING), (20_000, 1, before), (40_000, 31, NOTHING), (60_000, 7, before)]
    together = judge([Run(speech[at:][: 64 + 512 * count], state, Gain()) for at, count, state in parts])
    for (at, count, state), one in zip(parts, together, strict=True):
        (alone,) = judge([Run(speech[at:][: 64 + 512 * count], state, Gain())])
        assert len(one.probabilities) == count
        np.testing.assert_allclose(one.probabilities, alone.probabilities, atol=1e-5)
        np.testing.assert_allclose(one.state, alone.state, atol=1e-5)


def test_gates_of_several_streams_say_what_each_says_alone(speech: np.ndarray) -> None:
    streams = [
        speech,
        speech[::-1].copy(),
        _noise(10.0, -30),
        np.zeros_like(speech),
        speech[48_000:] * np.float32(0.02),
    ]
    gates = [VoiceGate() for _ in streams]
    log_mels = [FRONT_END(np.concatenate([np.zeros(240, np.float32), own])) for own in streams]
    said = list[list[np.ndarray]]([[] for _ in streams])
    for first in range(0, 1000, 50):
        parts = [(place, first) for place, own in enumerate(log_mels) if first < own.shape[1]]
        heard = [(log_mels[n][:, at : at + 50], streams[n][at * 160 :][:8000]) for n, at in parts]
        opened = gates[0].push_all([gates[n] for n, _ in parts], *zip(*heard, strict=True))
        for (place, _), frames in zip(parts, opened, strict=True):
            said[place].append(frames)
    for own, frames in zip(streams, said, strict=True):
        np.testing.assert_array_equal(np.concatenate(frames), _said(own, 50))


def test_the_script_writes_the_shipped_graph(tmp_path: Path) -> None:
    written = tmp_path / "silero_vad.onnx"
    subprocess.run([sys.executable, str(SCRIPT), str(SILERO), str(written)], check=True)
    assert written.read_bytes() == GRAPH.read_bytes()
