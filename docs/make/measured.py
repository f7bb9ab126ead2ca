"""The figures of benchmarks/results/ as one page: python docs/make/measured.py > docs/measured.md

A figure is named by its file and the way to it; what it means and what repeats it stand beside it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results"
SPEAKER = "`speaker_baseline.py edge_lupi/bundles/speaker.lupi --data $D --trials $D/{}`"
LUPI = "`lupi_gain.py --seeds 3 --arms audio,teacher,embed-mse,soft,teacher-shuffled,shuffled,int8,ptq` (2 h)"
CORPORA = "`emotion_corpora.py edge_lupi/bundles/emotion.lupi`"
BY_MODEL = "`by_model.py --data ravdess_av teacher.pt audio_only.pt student.pt emotion.lupi`"


@dataclass(frozen=True)
class Figure:
    """A line of the page: `path` leads through the JSON of `file` to a number, or to a `value` with `low` and `high`."""

    what: str
    file: str
    path: str
    command: str
    unit: str = "%"

    def text(self) -> str:
        """The number as people read it, with its 95 % interval where there is one."""
        place: Any = json.loads((RESULTS / f"{self.file}.json").read_text(encoding="utf-8"))
        for step in self.path.split("/"):
            place = place[step]
        shown = {"%": lambda x: f"{100 * x:.1f}", "points": lambda x: f"{round(100 * x, 1) + 0.0:+.1f}"}.get(
            self.unit, lambda x: f"{x:.1f}"
        )
        if not isinstance(place, dict):
            return f"{shown(place)} {self.unit}".strip()
        value = place.get("value", place.get("uar"))
        return f"{shown(value)} {self.unit} ({shown(place['low'])} to {shown(place['high'])})"


SECTIONS = {
    "Who speaks": [
        Figure("EER, LibriSpeech excerpts, 48 voices, 2,304 trials (halves of one recording: optimistic)", "speaker_librispeech", "bundle", SPEAKER.format("trials_held_out.txt")),
        Figure("the same, cosine of log-mel statistics", "speaker_librispeech", "log-mel statistics", "the same"),
        Figure("EER, RAVDESS actors 17–24, neutral, 1,024 trials", "speaker_ravdess_neutral", "bundle", SPEAKER.format("sv_trials_actors17-24_neutral.txt")),
        Figure("the same, cosine of log-mel statistics", "speaker_ravdess_neutral", "log-mel statistics", "the same"),
        Figure("EER, RAVDESS, neutral or calm against other emotions, 7,536 trials", "speaker_ravdess_mismatch", "bundle", SPEAKER.format("sv_trials_actors17-24_emotion_mismatch.txt")),
        Figure("the same, cosine of log-mel statistics", "speaker_ravdess_mismatch", "log-mel statistics", "the same"),
    ],
    "In what emotion": [
        Figure("UAR over 8, RAVDESS fold 0, 300 clips of 5 unheard actors: teacher that sees", "emotion_fold0", "teacher.pt", BY_MODEL),
        Figure("the same, student taught by labels alone", "emotion_fold0", "audio_only.pt", "the same"),
        Figure("the same, student taught by the teacher", "emotion_fold0", "student.pt", "the same"),
        Figure("the shipped int8 bundle: that student, learnt on beside people who read", "emotion_fold0", "emotion.lupi", "the same; or `edge-lupi evaluate edge_lupi/bundles/emotion.lupi --data ravdess_av`"),
        Figure("plain reading of 96 readers that it calls neutral", "emotion_shipped", "readers: neutral", CORPORA),
        Figure("plain reading that it gives a wrong emotion", "emotion_shipped", "readers: wrong emotion", "the same"),
    ],
    "What a teacher is worth": [
        Figure("UAR over five folds and three seeds, small students: labels alone", "lupi_gain", "audio", LUPI),
        Figure("gain of a teacher's embeddings over it", "lupi_gain", "embed-mse/gain", "the same", "points"),
        Figure("gain of the same in int8", "lupi_gain", "int8/gain", "the same", "points"),
        Figure("gain of a teacher's soft labels", "lupi_gain", "soft/gain", "the same", "points"),
        Figure("gain of embeddings of a teacher that was shown other clips' video", "lupi_gain", "shuffled/gain", "the same", "points"),
    ],
    "What it costs": [
        Figure("one segment through the encoder `small`, int8, p50", "int8_encoder_small", "p50_ms/int8", "`int8_encoder.py`, AMD EPYC with VNNI", "ms"),
        Figure("the same, fp32", "int8_encoder_small", "p50_ms/fp32", "the same", "ms"),
        Figure("the same, PyTorch", "int8_encoder_small", "p50_ms/torch eager", "the same", "ms"),
        Figure("memory after the first ten minutes of a day of sound", "endurance", "resident_first_mb", "`endurance.py --hours 24`", "MB"),
        Figure("memory at the end of that day", "endurance", "resident_last_mb", "the same", "MB"),
        Figure("sound lost in two minutes from a microphone, samples", "microphone", "real_time/dropped", "`microphone.py --seconds 120`", ""),
    ],
}  # fmt: skip
HEAD = """# Measured

Every figure here is read out of `benchmarks/results/` by `docs/make/measured.py`; beside it stands what repeats it, a script of
`benchmarks/`. In brackets 95 % intervals. One seed unless it says more; nothing was chosen by a test list, and what was looked at is
[told](../benchmarks/README.md#what-they-say). All tables, also of what did not help: [benchmarks](../benchmarks/README.md).
"""
END = """
What a hop costs on your machine, no table can tell: `edge-lupi bench`.
"""


def page() -> str:
    """The whole page."""
    parts = [HEAD]
    for title, figures in SECTIONS.items():
        parts.append(f"\n## {title}\n\n| what | figure | repeated by |\n|---|---|---|\n")
        parts += [f"| {figure.what} | {figure.text()} | {figure.command} |\n" for figure in figures]
    return "".join([*parts, END])


if __name__ == "__main__":
    print(page(), end="")
