"""The real command line: every verb has its help at once, and every mistake is one line."""

import hashlib
import json
import os
import pickle
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import numpy as np
import onnx
import pytest

from edge_lupi import __version__
from edge_lupi.bundle.bundle import shipped_bundle

Cli = Callable[..., CompletedProcess[str]]
VERBS = (
    "listen",
    "devices",
    "enroll",
    "speakers",
    "calibrate",
    "compile",
    "inspect",
    "doctor",
    "evaluate",
    "bench",
    "train",
)


def test_help_loads_nothing_heavy() -> None:
    """0.2 s on a small device: neither numpy nor anything larger."""
    code = (
        "import sys\nsys.argv = ['edge-lupi', '--help']\nfrom edge_lupi.cli import main\n"
        "try:\n    main()\nexcept SystemExit as exit:\n    assert not exit.code\nprint('LOADED', *sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split("LOADED")[1].split())
    assert not loaded & {"torch", "numpy", "onnxruntime", "onnx", "soundfile", "sounddevice", "soxr", "rich.progress"}
    assert all(verb in done.stdout for verb in VERBS)


@pytest.mark.parametrize("words", [(), *((verb,) for verb in VERBS), *(("train", part) for part in ("teacher", "student", "qat", "sweep", "shards"))])  # fmt: skip
def test_every_verb_has_help(cli: Cli, words: tuple[str, ...]) -> None:
    done = cli(*words, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    usage = " ".join(done.stdout.split())
    assert usage.startswith("Usage:")
    assert len(usage) > 150


def test_an_unknown_verb_is_no_traceback(cli: Cli) -> None:
    done = cli("sing")
    assert done.returncode == 2
    assert "No such command 'sing'" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("words", [("-m", "edge_lupi"), ("-m", "edge_lupi.cli")])
def test_version_and_short_help(words: tuple[str, ...]) -> None:
    for option, begins in (("--version", f"edge-lupi {__version__}\n"), ("-h", "Usage: ")):
        done = subprocess.run([sys.executable, *words, option], capture_output=True, text=True, check=True)
        assert done.stdout.startswith(begins)


@pytest.mark.parametrize(
    ("typed", "offered"), [("li", "listen"), ("train sw", "sweep"), ("listen --laten", "--latency")]
)
def test_the_shell_completes_verbs_and_options(typed: str, offered: str) -> None:
    code = "import sys\nsys.argv = ['edge-lupi']\nfrom edge_lupi.cli import main\nmain()"
    asked = {"_EDGE_LUPI_COMPLETE": "complete_bash", "COMP_WORDS": f"edge-lupi {typed}"}
    environment = {**os.environ, **asked, "COMP_CWORD": str(len(typed.split()))}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.split() == [offered]


def refused(done: CompletedProcess[str], *words: str) -> None:
    """It failed, with one sentence that names what is wrong."""
    assert done.returncode != 0
    assert done.stdout == ""
    assert done.stderr.startswith("edge-lupi: "), done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    for word in words:
        assert word in done.stderr


@pytest.fixture
def bundle(mood_chain: Any, tmp_path: Path) -> Path:
    """A bundle of one's own to damage."""
    return Path(shutil.copytree(mood_chain.folder / "student.lupi", tmp_path / "mine.lupi"))


SOUNDS: dict[str, tuple[Callable[[Any], Any], str]] = {
    "missing.wav": (lambda write: None, "no such file"),
    "empty.wav": (lambda write: write("empty.wav", np.zeros(0, np.float32)), "0.1 s"),
    "nothing.wav": (lambda write: write("nothing.wav", np.zeros(1600)).write_bytes(b""), "an empty file"),
    "text.wav": (lambda write: write("text.wav", np.zeros(1600)).write_text("hello, I am text"), "something else"),
    "nan.wav": (lambda write: write("nan.wav", np.full(16_000, np.nan), subtype="FLOAT"), "NaN or infinity"),
    "one.wav": (lambda write: write("one.wav", np.zeros(1)), "0.0001 s"),
}


@pytest.mark.parametrize("name", SOUNDS)
@pytest.mark.parametrize("verb", ["listen", "enroll", "evaluate"])
def test_sound_that_cannot_be_used(
    cli: Cli,
    mood_chain: Any,
    speaker_chain: Any,
    sound_file: Callable[..., Path],
    tmp_path: Path,
    name: str,
    verb: str,
) -> None:
    make, words = SOUNDS[name]
    make(sound_file)
    mood, speaker = mood_chain.folder / "student.lupi", speaker_chain.folder / "student.lupi"
    corpus = tmp_path / "corpus.csv"
    corpus.write_text(f"audio,label\n{name},plain\n")
    gallery = tmp_path / "gallery.json"
    done = {
        "listen": lambda: cli("listen", mood, "--task", "mood", "--input", tmp_path / name, "--json"),
        "enroll": lambda: cli("enroll", "ann", speaker, "--input", tmp_path / name, "--gallery", gallery),
        "evaluate": lambda: cli("evaluate", mood, "--data", corpus),
    }[verb]()
    refused(done, *([words] if not (verb == "evaluate" and name == "missing.wav") else ["which is not there"]))
    assert not gallery.exists()


def test_a_device_that_is_not_there(cli: Cli, bundle: Path) -> None:
    refused(cli("listen", bundle, "--task", "mood", "--device", "no such microphone"))
    refused(cli("listen", bundle, "--task", "mood", "--device", "9999"))


def test_a_bundle_that_is_damaged(cli: Cli, bundle: Path) -> None:
    graph = bundle / "encoder.onnx"
    graph.write_bytes(graph.read_bytes()[:1000])
    for verb in ("inspect", "bench", "listen"):
        refused(cli(verb, bundle), "encoder.onnx", "damaged")
    refused(cli("evaluate", bundle, "--data", "."), "encoder.onnx", "damaged")


@pytest.mark.parametrize("name", ["encoder.onnx", "aggregator.mood.onnx", "golden.npz"])
@pytest.mark.parametrize("content", [b"garbage", b""])
def test_a_bundle_with_right_hashes_of_wrong_files(cli: Cli, bundle: Path, name: str, content: bytes) -> None:
    (bundle / name).write_bytes(content)
    manifest = json.loads((bundle / "manifest.json").read_text())
    manifest["files"][name] = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    (bundle / "manifest.json").write_text(json.dumps(manifest))
    refused(cli("bench", bundle), name)


@pytest.mark.parametrize(
    ("place", "graph"), [("encoder.onnx", "aggregator.mood.onnx"), ("aggregator.mood.onnx", "encoder.onnx")]
)
def test_graphs_that_do_not_fit_together(cli: Cli, bundle: Path, place: str, graph: str) -> None:
    """One graph where the other should be, with its right hash."""
    (bundle / place).write_bytes((bundle / graph).read_bytes())
    manifest = json.loads((bundle / "manifest.json").read_text())
    manifest["files"][place] = manifest["files"][graph]
    (bundle / "manifest.json").write_text(json.dumps(manifest))
    refused(cli("bench", bundle), "compile the student anew")


def test_an_aggregator_of_another_width(cli: Cli, bundle: Path) -> None:
    model = onnx.load(bundle / "aggregator.mood.onnx")
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[1].dim_param = f"free_{value.name}"
    model.graph.input[1].type.tensor_type.shape.dim[1].dim_value = 7
    content = model.SerializeToString()
    (bundle / "aggregator.mood.onnx").write_bytes(content)
    manifest = json.loads((bundle / "manifest.json").read_text())
    entry = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    manifest["files"]["aggregator.mood.onnx"] = entry
    (bundle / "manifest.json").write_text(json.dumps(manifest))
    refused(cli("bench", bundle), "compile the student anew")


def test_no_bundle_at_all(cli: Cli, tmp_path: Path) -> None:
    refused(cli("inspect", tmp_path / "none.lupi"), "does not exist")
    refused(cli("inspect", tmp_path), "not a readable bundle")
    refused(cli("inspect", "--task", "digit"), "no bundle for task digit")


class Payload:
    """Unpickled, it writes a file."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.write_text, (self.target, "I ran")


def test_a_pickle_named_student_does_not_run(cli: Cli, tmp_path: Path) -> None:
    student, trace = tmp_path / "student.pt", tmp_path / "trace"
    student.write_bytes(pickle.dumps({"format": "edge-lupi student", "version": 1, "state": Payload(trace)}))
    refused(cli("compile", student), "student.pt", "not opened further")
    refused(cli("evaluate", student, "--data", tmp_path), "not opened further")
    assert [path.name for path in tmp_path.iterdir()] == ["student.pt"]


def test_a_recipe_with_a_wrong_key(cli: Cli, mood_chain: Any, tmp_path: Path) -> None:
    recipe = tmp_path / "wrong.toml"
    recipe.write_text(mood_chain.recipe.read_text().replace("[student]\nepochs", "[student]\nepoch"))
    refused(cli("train", "student", recipe, "--out", tmp_path / "out"), "did you mean student.epochs?")
    refused(cli("train", "student", tmp_path / "none.toml"), "expected a recipe at")
    assert not (tmp_path / "out").exists()


def test_a_corpus_that_is_not_there(cli: Cli, mood_chain: Any, tmp_path: Path) -> None:
    words = ("train", "teacher", mood_chain.recipe, "--out", tmp_path / "out", "--set", "data.root=nowhere")
    refused(cli(*words, env={"EDGE_LUPI_DATA": str(tmp_path)}), "set EDGE_LUPI_DATA")
    assert not (tmp_path / "out").exists()


def small_files_only() -> None:
    """As on a full disk, writes end after 20 kB: errno EFBIG in place of ENOSPC."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))


@pytest.mark.parametrize("older", [False, True])
def test_a_full_disk_leaves_nothing_half_written(cli: Cli, mood_chain: Any, tmp_path: Path, older: bool) -> None:
    out = tmp_path / "full.lupi"
    if older:
        shutil.copytree(mood_chain.folder / "float.lupi", out)
    before = {path.name: path.read_bytes() for path in out.glob("*")}
    done = cli("compile", mood_chain.folder / "student.pt", "--out", out, preexec_fn=small_files_only)
    refused(done, "could not write", "nothing was changed", "(--out)")
    assert {path.name: path.read_bytes() for path in out.glob("*")} == before
    assert [path.name for path in tmp_path.iterdir()] == (["full.lupi"] if older else [])


def test_inspect_says_what_is_inside(cli: Cli, mood_chain: Any) -> None:
    done = cli("inspect", mood_chain.folder / "int8.lupi")
    assert (done.returncode, done.stderr) == (0, "")
    for words in ("task       mood (classification): bright, plain", "precision  int8", "licence    unknown", "16 utterances of moods"):  # fmt: skip
        assert words in done.stdout
    found = json.loads(cli("inspect", mood_chain.folder / "int8.lupi", "--json").stdout)
    assert found["path"] == str(mood_chain.folder / "int8.lupi")
    assert found["precision"]["chosen"] == "int8"


def test_listen_gives_events(
    cli: Cli, mood_chain: Any, voice: Callable[..., Any], sound_file: Callable[..., Path]
) -> None:
    path = sound_file("long.wav", voice(4, 4.0))
    done = cli("listen", mood_chain.folder / "student.lupi", "--task", "mood", "--input", path, "--json")
    assert done.returncode == 0, done.stderr
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert events
    for event in events:
        assert event.keys() >= {"time", "task", "label", "probability", "latency_ms", "dropped"}
        assert event["label"] in ("bright", "plain")


def test_the_reader_may_go_away(mood_chain: Any) -> None:
    """As `edge-lupi inspect --json | head -0` does: no traceback."""
    command = [sys.executable, "-m", "edge_lupi.cli", "inspect", str(mood_chain.folder / "int8.lupi")]
    running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert running.stdout is not None
    assert running.stderr is not None
    running.stdout.close()
    said = running.stderr.read()
    running.stderr.close()
    running.wait()
    assert b"Traceback" not in said
    assert b"Exception" not in said


@pytest.mark.real_speech
@pytest.mark.parametrize(("task", "licence"), [("speaker", "CC BY 4.0"), ("emotion", "ravdess: CC BY-NC-SA 4.0")])
def test_inspect_names_the_licence_of_a_shipped_bundle(cli: Cli, data_root: Path, task: str, licence: str) -> None:
    assert shipped_bundle(task).is_dir()
    done = cli("inspect", "--task", task)
    assert done.returncode == 0, done.stderr
    assert f"licence    {licence}" in done.stdout
    assert "precision  int8" in done.stdout
