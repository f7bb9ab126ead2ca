"""ONNX Runtime's CUDA and TensorRT providers, as far as a machine without a GPU goes: the CPU provider stands in for CUDA's."""

import json
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest

from edge_lupi.bundle.bundle import Bundle
from edge_lupi.bundle.engines import FOLDER, Device, EngineKey
from edge_lupi.compile.engines.build import build_engines
from edge_lupi.compile.engines.context import context_from_onnx
from edge_lupi.compile.request import BuilderOptions, Request
from edge_lupi.compile.student import compile_student
from edge_lupi.errors import DeviceError, MissingExtra
from edge_lupi.models.files import save_student
from edge_lupi.runtime.compiled_student import CompiledStudent
from edge_lupi.runtime.engines.choose import engines_plain
from edge_lupi.runtime.engines.onnx_gpu import CUDA, OnnxCuda, OnnxTensorrt
from edge_lupi.runtime.engines.onnx_runtime import Place

ADA = SimpleNamespace(name="NVIDIA RTX 4000", capability="8.9", multiprocessors=48, memory_bytes=20 << 30)
SOFTWARE = f"onnxruntime-cuda {ort.__version__} and a driver of CUDA 12.6"


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU, and ONNX Runtime with a provider for it."""
    for module in ("onnx_gpu", "choose"):
        monkeypatch.setattr(f"edge_lupi.runtime.engines.{module}.find_gpu", lambda: ADA)
    monkeypatch.setattr("edge_lupi.runtime.engines.onnx_gpu.cuda_of_driver", lambda: (12, 6))
    monkeypatch.setattr(OnnxCuda, "provider", "CPUExecutionProvider")


@pytest.fixture(scope="module")
def compiled(make_grid_student: Callable[[], Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("onnx_gpu")
    save_student(folder / "two.pt", make_grid_student())
    compile_student(folder / "two.pt", folder / "two.lupi", Request("onnxruntime-cuda"))
    return folder / "two.lupi"


@pytest.fixture
def bundle(compiled: Path, tmp_path: Path) -> Path:
    return shutil.copytree(compiled, tmp_path / "two.lupi")


@pytest.mark.parametrize(("backend", "name"), [(OnnxCuda, "CUDA"), (OnnxTensorrt, "Tensorrt")])
def test_the_onnx_runtime_of_this_machine_has_no_such_provider(backend: Any, name: str) -> None:
    with pytest.raises(MissingExtra) as caught:
        backend("compile --target onnxruntime-x")
    assert str(caught.value).startswith(
        f"edge-lupi compile --target onnxruntime-x needs ONNX Runtime with its provider {name}: "
        "pip uninstall onnxruntime, then pip install 'onnxruntime-gpu[cuda,cudnn]'"
    )


def test_compile_says_what_to_install(bundle: Path, cli: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    done = cli("compile", bundle, "--target", "onnxruntime-cuda")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert "needs ONNX Runtime with its provider CUDA: pip uninstall onnxruntime, then pip install" in done.stderr


def test_without_a_gpu_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(OnnxCuda, "provider", "CPUExecutionProvider")
    monkeypatch.setattr("edge_lupi.runtime.engines.onnx_gpu.find_gpu", lambda: None)
    with pytest.raises(DeviceError, match="onnxruntime-cuda found no NVIDIA GPU here"):
        OnnxCuda("compile")


def test_an_entry_names_provider_and_versions(gpu: None, bundle: Path, voice: Callable[..., Any]) -> None:
    """Measured beside the CPU, chosen, and heard with; the engine is the bundle's graph."""
    wanted = CompiledStudent(Bundle.load(bundle), "mood").utterance(voice(1, 1.0)).embedding[0]
    report = build_engines(Bundle.load(bundle), Request("onnxruntime-cuda", "fp16", BuilderOptions(max_batch=4)))
    assert report.choice is not None
    assert set(report.choice.precisions) == {"fp16", "CPU"}
    (entry,) = json.loads((bundle / FOLDER / "engines.json").read_text())["engines"]
    assert entry["device"] | {"board": ""} == {
        "tensorrt": SOFTWARE, "capability": "8.9", "gpu": ADA.name, "multiprocessors": 48, "memory_gib": 20, "board": "",
    }  # fmt: skip
    graph = (bundle / "tensorrt.encoder.fp16.onnx").read_bytes()
    assert ((bundle / FOLDER / entry["file"]).read_bytes(), entry["chosen"]) == (graph, True)
    student = CompiledStudent(Bundle.load(bundle), "mood")
    assert (student.runs_on, student.max_batch) == ("GPU (fp16)", 4)
    found = student.utterance(voice(1, 1.0)).embedding[0]
    assert wanted @ found / np.linalg.norm(wanted) / np.linalg.norm(found) > 0.99


def test_auto_takes_the_gpu_only_where_it_wins(gpu: None, bundle: Path) -> None:
    """Here it is the CPU under another name, and the whole interval must say that it is faster."""
    report = build_engines(Bundle.load(bundle), Request("onnxruntime-cuda"))
    assert report.choice is not None
    assert set(report.choice.precisions) == {"fp32", "fp16", "int8", "CPU"}
    chosen = [one["precision"] for one in engines_plain(Bundle.load(bundle)) if one["chosen"]]
    assert chosen == ([] if report.choice.chosen == "CPU" else [report.choice.chosen])


def test_another_driver_or_onnx_runtime_is_not_it(gpu: None, bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build_engines(Bundle.load(bundle), Request("onnxruntime-cuda", "fp32"))
    monkeypatch.setattr("edge_lupi.runtime.engines.onnx_gpu.cuda_of_driver", lambda: (13, 1))
    (said,) = (one["misfit"] for one in engines_plain(Bundle.load(bundle)))
    assert said == f"built for SM 8.9 with {SOFTWARE}; here SM 8.9 with {SOFTWARE.replace('12.6', '13.1')}"
    assert CompiledStudent(Bundle.load(bundle), "mood").runs_on.endswith("compile BUNDLE --target onnxruntime-cuda")
    monkeypatch.setattr(OnnxCuda, "provider", CUDA)
    assert "needs ONNX Runtime with its provider CUDA" in CompiledStudent(Bundle.load(bundle), "mood").runs_on


@pytest.mark.filterwarnings("ignore:Specified provider")  # which a build that has it does not say
def test_a_provider_that_does_not_start(
    gpu: None, bundle: Path, monkeypatch: pytest.MonkeyPatch, voice: Callable[..., Any]
) -> None:
    """As where CUDA's libraries are absent: ONNX Runtime goes on without the provider, and tells nobody."""
    build_engines(Bundle.load(bundle), Request("onnxruntime-cuda", "fp32"))
    started = Place.session

    def without(place: Place, graph: bytes) -> Any:
        absent = [(CUDA, settings) for _, settings in place.providers if settings]
        return started(replace(place, providers=absent or place.providers), graph)

    monkeypatch.setattr(Place, "session", without)
    said = (
        r"encoder \(fp16\) does not start on the GPU \(CUDAExecutionProvider did not start, only CPUExecutionProvider\)"
    )
    with pytest.raises(DeviceError, match=said):
        build_engines(Bundle.load(bundle), Request("onnxruntime-cuda", "fp16"))
    student = CompiledStudent(Bundle.load(bundle), "mood")
    assert student.runs_on.startswith("CPU: encoder does not start on the GPU (")
    assert student.utterance(voice(1, 1.0)).embedding.size


def test_a_provider_that_fails_in_mid_stream(
    gpu: None, bundle: Path, monkeypatch: pytest.MonkeyPatch, voice: Callable[..., Any], capsys: Any
) -> None:
    build_engines(Bundle.load(bundle), Request("onnxruntime-cuda", "fp32"))
    student = CompiledStudent(Bundle.load(bundle), "mood")
    wanted = student.utterance(voice(1, 2.0)).embedding
    run, failed = ort.InferenceSession.run, []

    def failing(session: Any, *words: Any) -> Any:
        if session is student._encoder._engine._session and not failed:  # type: ignore[attr-defined]
            failed.append(session)
            raise RuntimeError("CUDA failure 700: an illegal memory access")
        return run(session, *words)

    monkeypatch.setattr(ort.InferenceSession, "run", failing)
    assert np.allclose(student.utterance(voice(1, 2.0)).embedding, wanted, atol=0.05)
    (said,) = student.gpu_failures
    assert said.startswith("the GPU failed, and the CPU goes on (encoder failed on the GPU (CUDA failure 700")
    assert student.runs_on.startswith("CPU: encoder failed on the GPU")


def test_what_the_tensorrt_provider_is_told(gpu: None, bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Shapes, memory, precision, and one file that holds everything; the CPU's provider, which writes none, is an error."""
    monkeypatch.setattr(OnnxTensorrt, "provider", "CPUExecutionProvider")
    told: list[Any] = []
    plain = ort.InferenceSession
    monkeypatch.setattr(ort, "InferenceSession", lambda *words, **named: told.append((words, named)) or plain(*words))
    backend = OnnxTensorrt("compile")
    key = EngineKey("encoder", "int8", "a" * 64, 8, 64, backend.device)
    with pytest.raises(DeviceError, match=r"onnxruntime-tensorrt could not build encoder \(int8\) \("):
        context_from_onnx(Bundle.load(bundle).file("tensorrt.encoder.int8.onnx"), key, backend)
    (_, options), named = told[-1]
    assert options.get_session_config_entry("ep.context_embed_mode") == "1"
    (_, settings), (spare, _) = named["providers"]
    assert spare == CUDA
    assert settings == {
        "trt_int8_enable": "1",
        "trt_profile_min_shapes": "log_mel:1x80x1x50",
        "trt_profile_opt_shapes": "log_mel:1x80x1x50",
        "trt_profile_max_shapes": "log_mel:8x80x1x50",
        "trt_max_workspace_size": str(64 << 20),
    }
    assert backend.device == Device(
        SOFTWARE.replace("cuda", "tensorrt", 1), "8.9", ADA.name, 48, 20, backend.device.board
    )
