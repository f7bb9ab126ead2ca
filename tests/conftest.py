"""What every test may use: generated voices and clips, the real recordings, and the rule that CI skips none of them.

- `voice(seed, seconds)`: float32 [T] at 16 kHz, vowels with a pitch; one seed is one voice.
- `sound_file(name, samples)`, `video_file(name, seconds)`: the same as files under `tmp_path`.
- `mood_chain`, `speaker_chain`: everything that the command line makes of a tiny generated corpus, trained once a session.
- `cli(*words)`: `edge-lupi words...` in a process of its own.
- `make_grid_student()`: an untrained nano student with int8 ranges.
- `tensorrt_builder`: the environment in which a process has the real TensorRT builder (tests/install_tensorrt_builder.sh).
- `with_engines`: a bundle of that student with engines that this builder built, and what `compile` said.
- `face_task`, `other_size`: the model that finds faces, and a video with one that is not GRID's size or rate; or a skip.
- `data_root`: the folder of real recordings ($EDGE_LUPI_DATA, or ../shared/data beside the checkout), or a skip.
  Whatever uses it is marked `real_speech`; with CI=true and the folder there, a skip of such a test is a failure.
"""

from __future__ import annotations

import atexit
import contextlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

os.environ.setdefault(
    "OMP_NUM_THREADS", "1"
)  # threads that wait for each other on a busy machine cost ten times the work
os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # some tests import ONNX Runtime before edge_lupi

_HOME = tempfile.mkdtemp(prefix="edge-lupi-tests-")
atexit.register(shutil.rmtree, _HOME, ignore_errors=True)
os.environ["XDG_DATA_HOME"] = _HOME  # nobody is known here, whoever may be enrolled on this machine

Samples = NDArray[np.float32]

RATE_HZ = 16_000
SYLLABLE_SECONDS = 0.2
FORMANTS_HZ = np.array([[730, 1090, 2440], [270, 2290, 3010], [300, 870, 2240], [530, 1840, 2480], [570, 840, 2410]])
EDGE_ALONE = find_spec("torch") is None
OF_A_WORKSTATION = re.compile(
    r"^ *(?:import|from) (?:torch|onnx|av|hypothesis|scipy|matplotlib|cryptography|edge_lupi\.(?:train|models|compile))\b",
    re.M,
)
TRAINS = {"mood_chain", "speaker_chain", "make_grid_student", "with_engines", "video_file", "other_size"}
OF_A_START = {"PYTHONPATH", "LD_LIBRARY_PATH", "PYTHONDONTWRITEBYTECODE", "HOME"}  # what is read before any of our code
TORCH = (["train"], ["compile"], ["evaluate"])
LONG = (
    "tests/train/sweep/",
    "tests/gpu/",
    "tests/train/",
    "tests/page/",
    "tests/test_microphone.py",
    "tests/test_cli.py",
)
NEVER_SKIPPED = ("real_speech", "microphone", "real_builder")


def data_folder() -> Path:
    """Where the real recordings are, or would be."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    return Path(os.environ.get("EDGE_LUPI_DATA") or beside)


def make_voice(seed: int, seconds: float, rate_hz: int = RATE_HZ) -> Samples:
    """Syllables of five vowels: harmonics of a gliding pitch under three formants (Peterson and Barney 1952)."""
    draw = np.random.default_rng(seed)
    pitch_hz, tract = draw.uniform(90, 240), draw.uniform(0.85, 1.2)
    time = np.arange(round(seconds * rate_hz)) / rate_hz
    glide = pitch_hz * (1 + 0.05 * np.sin(2 * np.pi * 2.5 * time))
    phase = 2 * np.pi * np.cumsum(glide) / rate_hz
    syllable = (time / SYLLABLE_SECONDS).astype(int)
    vowels = draw.integers(len(FORMANTS_HZ), size=syllable.max(initial=0) + 1)
    sound = np.zeros(len(time))
    for harmonic in range(1, int(3800 / pitch_hz)):
        distance = (harmonic * pitch_hz - FORMANTS_HZ * tract) / 120
        loudness = (1 / (1 + distance**2)).sum(axis=1) / harmonic**0.5
        sound += loudness[vowels[syllable]] * np.sin(harmonic * phase)
    swell = np.sin(np.pi * (time / SYLLABLE_SECONDS % 1)) ** 0.5
    sound = sound * swell / max(np.abs(sound).max(initial=0), 1e-9) * 0.5
    return (sound + draw.normal(0, 1e-3, len(time))).astype(np.float32)


@pytest.fixture(autouse=True)
def _log_as_a_verb_shows_it() -> Iterator[None]:
    """What a test makes the library log is on standard error, for `capsys`."""
    from edge_lupi.terminal import log_shown

    with log_shown():
        yield


@pytest.fixture(scope="session")
def voice() -> Callable[..., Samples]:
    return make_voice


@pytest.fixture
def sound_file(tmp_path: Path) -> Callable[..., Path]:
    """Write float32 [T] or [T, channels] under tmp_path; the ending of the name picks the format."""
    import soundfile

    def write(name: str, samples: NDArray[Any], rate_hz: int = RATE_HZ, subtype: str | None = None) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, samples, rate_hz, subtype=subtype)
        return path

    return write


def write_video(path: Path, seconds: float, width: int, height: int, *, sound: bool, first_grey: int = 16) -> None:
    """A clip at 25 fps whose frame i is all of grey 16 + 8 * i, with a voice as its sound."""
    import av

    with av.open(str(path), "w") as container:
        pictures = container.add_stream("mpeg1video" if path.suffix == ".mpg" else "mpeg4", rate=25)
        pictures.width, pictures.height, pictures.pix_fmt, pictures.bit_rate = width, height, "yuv420p", 2_000_000
        codec = "mp2" if path.suffix == ".mpg" else "aac"
        voices = container.add_stream(codec, rate=RATE_HZ, layout="mono") if sound else None
        for index in range(round(seconds * 25)):
            grey = np.full((height, width), min(first_grey + 8 * index, 235), np.uint8)
            frame = av.VideoFrame.from_ndarray(grey, format="gray").reformat(format="yuv420p")
            frame.pts, frame.time_base = index, Fraction(1, 25)
            container.mux(pictures.encode(frame))
        container.mux(pictures.encode(None))
        if voices is not None:
            pcm = (make_voice(0, seconds) * 32767).astype(np.int16)[None]
            spoken = av.AudioFrame.from_ndarray(pcm, format="s16", layout="mono")
            spoken.sample_rate = RATE_HZ
            container.mux(voices.encode(spoken))
            container.mux(voices.encode(None))


@pytest.fixture
def video_file(tmp_path: Path) -> Callable[..., Path]:
    """Write a clip at 25 fps whose frame i is all of grey 16 + 8 * i, with a voice as its sound (unless `sound` is False)."""
    pytest.importorskip("av")

    def write(name: str, seconds: float = 1.0, width: int = 96, height: int = 96, sound: bool = True) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_video(path, seconds, width, height, sound=sound)
        return path

    return write


@dataclass(frozen=True)
class Chain:
    """A folder with teacher.pt, student.pt ... student.lupi, and what the verbs said on their way: (stdout, stderr)."""

    folder: Path
    corpus: Path
    recipe: Path
    said: dict[str, tuple[str, str]]


def run_here(*words: str | Path) -> tuple[str, str]:
    """`edge-lupi words...` in this process, which spares the imports; stdout and stderr."""
    from edge_lupi.cli import main

    out, err, before, code = io.StringIO(), io.StringIO(), sys.argv, None
    sys.argv = ["edge-lupi", *map(str, words)]
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            main()
    except SystemExit as exit:
        code = exit.code
    finally:
        sys.argv = before
    assert not code, err.getvalue()
    return out.getvalue(), err.getvalue()


@pytest.fixture(scope="session")
def cli() -> Iterator[Callable[..., subprocess.CompletedProcess[str]]]:
    """Run `edge-lupi words...` as a user does, in a process of its own; further arguments go to subprocess.run.

    Where nothing is asked for that a process has from its start, that is a fork of one that has its libraries (`tests.warm`).
    """
    from tests.warm import EDGE, WORKSTATION, Warm

    base = {**os.environ, "OMP_NUM_THREADS": "1"}
    edge, workstation = Warm(EDGE, base), Warm(WORKSTATION, base)

    def run(*words: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
        typed, own = [str(word) for word in words], options.get("env") or {}
        if options.keys() <= {"env", "cwd", "timeout"} and not own.keys() & OF_A_START:
            one = workstation if typed[:1] in TORCH else edge
            return one.run(
                typed,
                env={**os.environ, "OMP_NUM_THREADS": "1", **own},
                **{k: v for k, v in options.items() if k != "env"},
            )
        command = [sys.executable, "-m", "edge_lupi.cli", *typed]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", **options.pop("env", {})}
        return subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment, **options)

    yield run
    for one in (edge, workstation):
        one.close()


TINY = """
name = "tiny"
seed = 3
[data]
root = "{root}"
task = "{task}"
test = {test}
{more}
[teacher]
epochs = {epochs}
batch = 8
video = "{video}"
frame_size = 24
[student]
epochs = {epochs}
batch = 8
[qat]
epochs = 1
batch = 8
rate = 3e-5
"""
SEQUENTIAL = "[segments]\nseconds = 0.5\nhop_seconds = 0.25\ncrop_seconds = 1.0"
WHOLE = 'validation_speakers = 0.4\n[segments]\nsetting = "non-sequential"\nseconds = 1.0\nhop_seconds = 1.0\ncrop_seconds = 1.0'


@pytest.fixture(scope="session")
def mood_corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """moods.csv: six voices, plain or bright, two takes of 1.5 s each, with four video features per frame that tell."""
    import soundfile

    folder = tmp_path_factory.mktemp("moods")
    lines = ["audio,label,speaker,video,split"]
    draw = np.random.default_rng(0)
    for speaker in range(6):
        for take, sound in enumerate(np.split(make_voice(speaker, 6.0), 4)):
            bright = take % 2
            name, samples = f"{speaker}_{take}", np.diff(sound, prepend=0) * 3 if bright else sound
            soundfile.write(folder / f"{name}.wav", samples, RATE_HZ)
            seen = draw.normal(3 * bright, 1, (38, 4)).astype(np.float32)
            np.save(folder / f"{name}.npy", seen)
            split = "train" if speaker < 4 else "test"
            lines.append(f"{name}.wav,{('plain', 'bright')[bright]},voice{speaker},{name}.npy,{split}")
    (folder / "moods.csv").write_text("\n".join(lines) + "\n")
    return folder / "moods.csv"


@pytest.fixture(scope="session")
def mood_chain(mood_corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Chain:
    """Sequential, classes: teacher with features, student, int8 student, bundle."""
    folder = tmp_path_factory.mktemp("mood_chain")
    recipe = folder / "tiny.toml"
    recipe.write_text(
        TINY.format(root=mood_corpus, task="mood", test='"test"', more=SEQUENTIAL, epochs=3, video="features")
    )
    said = {
        "teacher": run_here("train", "teacher", recipe, "--out", folder),
        "student": run_here("train", "student", recipe, "--out", folder),
        "audio_only": run_here("train", "student", recipe, "--out", folder, "--audio-only"),
        "qat": run_here("train", "qat", recipe, "--out", folder),
        "compile": run_here("compile", folder / "student.int8.pt", "--out", folder / "student.lupi", "--json"),
        "fp32": run_here("compile", folder / "student.pt", "--out", folder / "float.lupi", "--json"),
        "int8": run_here(
            "compile", folder / "student.int8.pt", "--out", folder / "int8.lupi", "--precision", "int8", "--json"
        ),
    }
    return Chain(folder, mood_corpus, recipe, said)


@pytest.fixture(scope="session")
def speaker_chain(tmp_path_factory: pytest.TempPathFactory) -> Chain:
    """Non-sequential, verification, raw frames for the teacher: speakers.csv and trials.txt of eight voices, no int8."""
    import soundfile

    folder = tmp_path_factory.mktemp("speaker_chain")
    lines = ["audio,label,video"]
    for speaker in range(8):
        write_video(folder / f"{speaker}.mp4", 1.0, 32, 32, sound=False, first_grey=16 + 20 * speaker)
        for take, sound in enumerate(np.split(make_voice(speaker, 7.0), 2)):
            soundfile.write(folder / f"{speaker}_{take}.wav", sound, RATE_HZ)
            lines.append(f"{speaker}_{take}.wav,voice{speaker},{speaker}.mp4")
    corpus, recipe = folder / "speakers.csv", folder / "tiny.toml"
    corpus.write_text("\n".join(lines) + "\n")
    trials = [f"{int(a == b)} {a}_0.wav {b}_1.wav" for a in range(8) for b in range(8)]
    (folder / "trials.txt").write_text("\n".join(trials) + "\n")
    recipe.write_text(TINY.format(root=corpus, task="speaker", test="0.25", more=WHOLE, epochs=1, video="frames"))
    said = {
        "teacher": run_here("train", "teacher", recipe, "--out", folder),
        "student": run_here("train", "student", recipe, "--out", folder),
        "compile": run_here("compile", folder / "student.pt", "--json"),
    }
    return Chain(folder, corpus, recipe, said)


@pytest.fixture(scope="session")
def make_grid_student() -> Callable[[], Any]:
    """Makes a TrainedStudent: nano, random weights, folded, with the ranges that its numbers reach on five voices."""
    import torch

    from edge_lupi.bundle.provenance import Provenance
    from edge_lupi.frames import Segmentation
    from edge_lupi.models.files import TrainedStudent
    from edge_lupi.models.front_end import cut, log_mel
    from edge_lupi.models.rounding import convolutions, points
    from edge_lupi.models.student import Student, StudentConfig
    from edge_lupi.task import Task

    sounds = np.stack([make_voice(seed, 2.0) for seed in range(5)])

    def make() -> TrainedStudent:
        torch.manual_seed(0)
        segmentation = Segmentation(0.5, 0.25)
        tasks = (Task("mood", "classification", ("plain", "bright")), Task("speaker", "verification"))
        student = Student(StudentConfig("nano", "sequential", segmentation, tasks))
        segments = cut(log_mel(torch.from_numpy(sounds)), segmentation).flatten(0, 1)
        ranges: dict[str, torch.Tensor] = {}
        with torch.no_grad():
            student.encoder(segments)  # batch norms take the means and deviations of voices
            student.encoder.fold()
            for name, point in points(student.encoder):
                point.register_forward_hook(lambda _, __, out, name=name: ranges.update({name: out.abs().max()}))
            student.encoder(segments)
        for _, point in points(student.encoder):
            point._forward_hooks.clear()
        for name, conv in convolutions(student.encoder):
            ranges[f"{name}.weight"] = conv.weight.detach().abs().amax((1, 2, 3))
        speech = torch.from_numpy((sounds.ravel() * 32767).astype(np.int16))
        return TrainedStudent(student.eval(), ranges, speech, Provenance(corpus="voices", licence="generated"))

    return make


@pytest.fixture(scope="session")
def tensorrt_builder() -> dict[str, str]:
    """Environment variables for a process that builds engines with the real TensorRT builder, without a GPU."""
    folder = Path(__file__).resolve().parents[1] / ".tensorrt_builder"
    if not (folder / "installed").is_file():
        pytest.skip("no TensorRT builder: run tests/install_tensorrt_builder.sh")
    return {"PYTHONPATH": str(folder / "11"), "LD_LIBRARY_PATH": str(folder / "lib")}


@pytest.fixture(scope="session")
def with_engines(
    make_grid_student: Callable[[], Any],
    tensorrt_builder: dict[str, str],
    cli: Callable[..., subprocess.CompletedProcess[str]],
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Path, dict[str, Any]]:
    """two.lupi (two tasks) as `compile --target tensorrt` leaves it, beside two.pt, and the JSON that it said."""
    from edge_lupi.models.files import save_student

    folder = tmp_path_factory.mktemp("with_engines")
    save_student(folder / "two.pt", make_grid_student())
    environment = {**tensorrt_builder, "XDG_CACHE_HOME": str(folder / "cache")}
    done = cli("compile", folder / "two.pt", "--target", "tensorrt", "--json", env=environment)
    assert done.returncode == 0, done.stderr
    return folder / "two.lupi", json.loads(done.stdout)


@pytest.fixture(scope="session")
def data_root() -> Path:
    folder = data_folder()
    if not folder.is_dir():
        pytest.skip(f"no recordings at {folder}: set EDGE_LUPI_DATA")
    return folder


@pytest.fixture(scope="session")
def face_task(data_root: Path) -> Path:
    """The model that finds faces ($EDGE_LUPI_FACE_MODEL, or beside the recordings), where mediapipe is installed."""
    from importlib.util import find_spec

    beside = data_root.parent / "teachers" / "face_landmarker_v2_with_blendshapes.task"
    path = Path(os.environ.get("EDGE_LUPI_FACE_MODEL") or beside)
    if not path.is_file():
        pytest.skip(f"no model of faces at {path}: set EDGE_LUPI_FACE_MODEL")
    if find_spec("mediapipe") is None:
        pytest.skip("no mediapipe: pip install 'edge-lupi[video]'")
    return path


@pytest.fixture(scope="session")
def other_size(data_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A second of somebody's face and voice, encoded anew at 600x480 and 30 pictures a second, as other cameras give it."""
    import av

    path = tmp_path_factory.mktemp("videos") / "other.mp4"
    with av.open(str(data_root / "grid_s1_av/multi_speaker_originals/lrwp9a.mpg")) as source:
        shown = [frame.reformat(600, 480, "yuv420p") for frame in source.decode(video=0)]
    with av.open(str(path), "w") as container:
        track = container.add_stream("mpeg4", rate=30)
        track.width, track.height, track.pix_fmt, track.bit_rate = 600, 480, "yuv420p", 2_000_000
        for number in range(30):
            frame = shown[round(number / 30 * 25)]
            frame.pts, frame.time_base, frame.pict_type = number, Fraction(1, 30), 0
            container.mux(track.encode(frame))
        container.mux(track.encode(None))
    return path


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    """Where the edge part alone is installed, files that import what only a workstation has are none of its tests."""
    if EDGE_ALONE and collection_path.suffix == ".py" and OF_A_WORKSTATION.search(collection_path.read_text("utf-8")):
        return True
    return None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """What takes long comes first, so that of two processes neither is left alone with it at the end."""
    items.sort(key=lambda item: next((at for at, name in enumerate(LONG) if item.nodeid.startswith(name)), len(LONG)))
    if EDGE_ALONE:
        trained = [item for item in items if TRAINS.intersection(getattr(item, "fixturenames", ()))]
        config.hook.pytest_deselected(items=trained)
        items[:] = [item for item in items if item not in trained]
    for item in items:
        if "data_root" in getattr(item, "fixturenames", ()):
            item.add_marker("real_speech")
        if "tensorrt_builder" in getattr(item, "fixturenames", ()):
            item.add_marker("real_builder")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    outcome: Any = yield
    report = outcome.get_result()
    guarded = any(item.get_closest_marker(name) for name in NEVER_SKIPPED) and not item.get_closest_marker("needs_gpu")
    if (
        report.skipped
        and guarded
        and not hasattr(report, "wasxfail")
        and os.environ.get("CI") == "true"
        and data_folder().is_dir()
    ):
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} was skipped, which CI does not allow: {report.longrepr}"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    reports = [report for outcome in ("passed", "failed") for report in terminalreporter.stats.get(outcome, [])]
    ran = sum(report.when == "call" and "real_speech" in report.keywords for report in reports)
    terminalreporter.write_line(f"{ran} tests ran on real speech")
