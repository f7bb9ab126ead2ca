"""student.pt in, student.lupi out: the same student, measured, with its golden vectors and its card."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

from edge_lupi.bundle.bundle import Bundle
from edge_lupi.bundle.calibration import Calibration, Point, load_calibration, save_calibration
from edge_lupi.compile.request import Request
from edge_lupi.compile.student import compile_student, fingerprint
from edge_lupi.compile.targets import compile_for
from edge_lupi.errors import BundleError, InputError
from edge_lupi.evaluate.trained import student_answerer
from edge_lupi.models.files import TrainedStudent, load_student, save_student
from edge_lupi.runtime.compiled_student import CompiledStudent
from edge_lupi.runtime.front_end import FftFrontEnd

MakeStudent = Callable[[], TrainedStudent]


@pytest.fixture(scope="module")
def compiled(make_grid_student: MakeStudent, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two.pt (two tasks) and its bundles fp32.lupi and int8.lupi."""
    folder = tmp_path_factory.mktemp("compiled")
    save_student(folder / "two.pt", make_grid_student())
    for precision in ("fp32", "int8"):
        compile_student(folder / "two.pt", folder / f"{precision}.lupi", Request(precision=precision))
    return folder


@pytest.mark.parametrize("task", ["mood", "speaker"])
@pytest.mark.parametrize("seconds", [0.3, 0.5, 2.13])
def test_fp32_hears_what_torch_hears(
    compiled: Path, make_grid_student: MakeStudent, voice: Callable[..., Any], task: str, seconds: float
) -> None:
    samples = voice(31, seconds)
    wanted = student_answerer(replace(make_grid_student(), ranges={}), task)(samples, None)
    found = CompiledStudent(Bundle.load(compiled / "fp32.lupi"), task).utterance(samples)
    np.testing.assert_allclose(found.embedding[0], wanted.embedding, rtol=1e-4, atol=1e-4)
    if task == "mood":
        np.testing.assert_allclose(found.scores[0], wanted.scores, rtol=1e-4, atol=1e-4)
    else:
        assert (found.scores, wanted.scores) == (None, None)


@pytest.mark.parametrize("task", ["mood", "speaker"])
def test_int8_hears_what_torch_hears_on_the_same_grid(
    compiled: Path, make_grid_student: MakeStudent, voice: Callable[..., Any], task: str
) -> None:
    student = CompiledStudent(Bundle.load(compiled / "int8.lupi"), task)
    answer = student_answerer(make_grid_student(), task)
    for seed in range(31, 34):
        a, b = student.utterance(voice(seed, 1.7)).embedding[0], answer(voice(seed, 1.7), None).embedding
        assert a @ b / np.linalg.norm(a) / np.linalg.norm(b) > 0.99


def test_a_trained_student_too(mood_chain: Any, voice: Callable[..., Any]) -> None:
    for name, bundle, least in (("student", "float", 0.99999), ("student.int8", "int8", 0.99)):
        a = student_answerer(load_student(mood_chain.folder / f"{name}.pt"))(voice(9, 1.5), None).embedding
        b = CompiledStudent(Bundle.load(mood_chain.folder / f"{bundle}.lupi")).utterance(voice(9, 1.5)).embedding[0]
        assert a @ b / np.linalg.norm(a) / np.linalg.norm(b) > least


def test_json_of_compile(mood_chain: Any) -> None:
    found = json.loads(mood_chain.said["compile"][0])
    assert found.keys() >= {"bundle", "target", "precisions", "chosen", "why"}
    assert (found["bundle"], found["target"]) == (str(mood_chain.folder / "student.lupi"), "cpu")
    assert found["precisions"].keys() == {"fp32", "int8"}
    for figures in found["precisions"].values():
        assert figures.keys() >= {"p50_ms", "p99_ms", "bytes", "cosine_mean", "cosine_worst"}
    assert found["chosen"] in found["why"] or found["chosen"] == "fp32"
    assert found["precisions"]["int8"]["bytes"] < found["precisions"]["fp32"]["bytes"]
    without = json.loads(mood_chain.said["fp32"][0])
    assert without["precisions"].keys() == {"fp32"}
    assert "no quantisation ranges" in without["why"]


def test_the_manifest_says_what_was_chosen_and_on_what_it_was_trained(mood_chain: Any) -> None:
    bundle = Bundle.load(mood_chain.folder / "int8.lupi")
    manifest = bundle.manifest
    assert manifest["precision"]["chosen"] == "int8"
    assert manifest["precision"]["float_layers"] == []
    assert manifest["licence"] == "unknown: the user's own recordings"
    assert manifest["training"]["training_speakers"] == ["voice0", "voice1", "voice2", "voice3"]
    assert manifest["tools"].keys() >= {"edge_lupi", "torch", "onnx", "onnxruntime", "opset"}
    assert (bundle.segmentation.seconds, bundle.segmentation.hop_seconds) == (0.5, 0.25)
    card = bundle.file("CARD.md").decode()
    assert "Licence of the training data" in card
    assert "bright, plain" in card
    assert len(Bundle.load(mood_chain.folder / "float.lupi").manifest["precision"]["float_layers"]) > 0


def test_golden_vectors_are_the_students(compiled: Path, make_grid_student: MakeStudent) -> None:
    golden = Bundle.load(compiled / "fp32.lupi").golden()
    assert golden["samples"].dtype == np.int16
    assert golden["embeddings"].shape == (7, 128)  # 2 s in segments of 0.5 s every 0.25 s
    samples = np.concatenate([np.zeros(240), golden["samples"] / 32768]).astype(np.float32)
    np.testing.assert_allclose(FftFrontEnd()(samples)[:, :50], golden["log_mel"], rtol=0, atol=1e-3)
    assert {"utterance.mood", "scores.mood", "utterance.speaker"} <= golden.keys()


def test_the_front_end_graph_in_the_bundle_gives_the_golden_log_mel(compiled: Path) -> None:
    from edge_lupi.runtime.engines.onnx_runtime import OnnxEngine

    bundle = Bundle.load(compiled / "int8.lupi")
    golden = bundle.golden()
    samples = np.concatenate([np.zeros(240), golden["samples"][:8000] / 32768]).astype(np.float32)
    found = OnnxEngine(bundle.file("front_end.onnx")).run({"samples": samples[None]})["log_mel"]
    np.testing.assert_allclose(found[0, :, 0], golden["log_mel"], rtol=0, atol=1e-3)


def test_another_encoder_does_not_pass_the_golden_vectors(compiled: Path, tmp_path: Path) -> None:
    from edge_lupi.bundle.write import write_bundle

    bundle = Bundle.load(compiled / "fp32.lupi")
    model = onnx.load_from_string(bundle.file("encoder.onnx"))
    for item in model.graph.initializer:
        if len(item.dims) == 4:
            values = onnx.numpy_helper.to_array(item)
            item.CopyFrom(onnx.numpy_helper.from_array(np.ascontiguousarray(values[:, :, ::-1, ::-1]), item.name))
    files = {**bundle.files, "encoder.onnx": model.SerializeToString()}
    write_bundle(tmp_path / "other.lupi", bundle.manifest, files, bundle.tasks)
    with pytest.raises(BundleError, match="expected the golden embeddings"):
        CompiledStudent(Bundle.load(tmp_path / "other.lupi"))


def test_one_fingerprint_for_every_precision_of_a_student(compiled: Path, make_grid_student: MakeStudent) -> None:
    prints = {Bundle.load(compiled / f"{name}.lupi").fingerprint for name in ("fp32", "int8")}
    assert prints == {fingerprint(make_grid_student().student)}
    changed = make_grid_student()
    with torch.no_grad():
        changed.student.encoder.project.bias[0] += 1e-3
    assert fingerprint(changed.student) not in prints


def test_what_was_calibrated_stays_when_the_same_student_is_compiled_again(
    make_grid_student: MakeStudent, tmp_path: Path
) -> None:
    out = tmp_path / "x.lupi"
    save_student(tmp_path / "x.pt", make_grid_student())
    compile_student(tmp_path / "x.pt", out, Request(precision="fp32"))
    mine = Calibration("speaker", Bundle.load(out).fingerprint, 0.01, 4, 40, (Point(1.0, 0.5, 0.4, 0.6, 4000),))
    save_calibration(mine, out, "<svg/>")
    compile_student(tmp_path / "x.pt", out, Request(precision="int8"))
    assert load_calibration(out, Bundle.load(out).fingerprint, "speaker") == mine
    assert (out / "calibration.speaker.svg").read_text() == "<svg/>"

    other = make_grid_student()
    with torch.no_grad():
        other.student.encoder.project.bias[0] += 1e-3
    save_student(tmp_path / "x.pt", other)
    compile_student(tmp_path / "x.pt", out, Request(precision="fp32"))
    assert not list(out.glob("calibration*"))


@pytest.mark.parametrize(
    ("change", "asked", "error", "words"),
    [
        ({}, {"precision": "int4"}, InputError, "expected a precision of auto, fp32, int8, got 'int4'"),
        ({}, {"target": "toaster"}, InputError, "expected a target of auto, .*got 'toaster'"),
        ({"ranges": {}}, {"precision": "int8"}, InputError, "no quantisation ranges"),
        ({"speech": torch.zeros(100, dtype=torch.int16)}, {}, BundleError, "no speech to judge by"),
    ],
)
def test_what_cannot_be_compiled(
    make_grid_student: MakeStudent,
    tmp_path: Path,
    change: dict[str, Any],
    asked: dict[str, str],
    error: type[Exception],
    words: str,
) -> None:
    save_student(tmp_path / "x.pt", replace(make_grid_student(), **change))
    with pytest.raises(error, match=words):
        compile_student(tmp_path / "x.pt", tmp_path / "x.lupi", Request(**asked))
    assert [path.name for path in tmp_path.iterdir()] == ["x.pt"]


def test_a_bundle_is_loaded_once(
    make_grid_student: MakeStudent, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Written, read back once, and handed on: what is said of it afterwards does not look at the disk."""
    save_student(tmp_path / "x.pt", make_grid_student())
    loaded: list[Path] = []
    read = Bundle._read.__func__  # type: ignore[attr-defined]

    def counted(cls: type[Bundle], path: Path, signed_by: Path | None) -> Bundle:
        loaded.append(path)
        return read(cls, path, signed_by)

    monkeypatch.setattr(Bundle, "_read", classmethod(counted))
    done = compile_for(tmp_path / "x.pt", None, Request("cpu", "int8"))
    shutil.rmtree(tmp_path / "x.lupi")
    assert "layers left in float: none" in done.text()
    assert done.plain()["chosen"] == "int8"
    assert loaded == [tmp_path / "x.lupi"]
