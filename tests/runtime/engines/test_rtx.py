"""TensorRT-RTX as ONNX Runtime's plugin, as far as a machine without a GPU goes: the CPU stands in for the plugin's device."""

import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest

from edge_lupi.bundle.bundle import Bundle
from edge_lupi.bundle.engines import Device, EngineKey
from edge_lupi.compile.engines import build as compile_engines
from edge_lupi.compile.engines.build import build_engines
from edge_lupi.compile.engines.context import context_from_onnx
from edge_lupi.compile.request import Request
from edge_lupi.compile.student import compile_student
from edge_lupi.errors import DeviceError, MissingExtra
from edge_lupi.models.files import save_student
from edge_lupi.runtime.compiled_student import CompiledStudent
from edge_lupi.runtime.engines import rtx as runtime_rtx
from edge_lupi.runtime.engines.rtx import Rtx


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An RTX GPU and the plugin, pretended: what is put on it computes on the CPU."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    found = SimpleNamespace(name="NVIDIA RTX 4000", capability="8.9", multiprocessors=48, memory_bytes=20 << 30)
    for module in ("runtime.engines.rtx", "runtime.engines.choose"):
        monkeypatch.setattr(f"edge_lupi.{module}.find_gpu", lambda: found)
    plugin = SimpleNamespace(
        __version__="0.5.0", get_ep_name=lambda: "CPUExecutionProvider", get_library_path=lambda: "nowhere"
    )
    monkeypatch.setitem(sys.modules, "onnxruntime_ep_nv_tensorrt_rtx", plugin)
    put = ort.SessionOptions.add_provider_for_devices
    monkeypatch.setattr(ort.SessionOptions, "add_provider_for_devices", lambda self, devices, _: put(self, devices, {}))


@pytest.fixture
def bundle(make_grid_student: Callable[[], Any], tmp_path: Path) -> Path:
    save_student(tmp_path / "two.pt", make_grid_student())
    compile_student(tmp_path / "two.pt", tmp_path / "two.lupi", Request("tensorrt-rtx"))
    return tmp_path / "two.lupi"


def test_without_the_plugin_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime_ep_nv_tensorrt_rtx", None)
    with pytest.raises(MissingExtra, match=r"^edge-lupi compile for tensorrt-rtx needs .*\[tensorrt-rtx\]'$"):
        Rtx("compile for tensorrt-rtx")


def test_without_a_gpu_one_sentence(gpu: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime_rtx, "find_gpu", lambda: None)
    with pytest.raises(DeviceError, match=r"TensorRT-RTX found no RTX GPU of compute capability 8.6 or newer here"):
        Rtx("compile")


def test_a_plugin_that_cannot_be_loaded_is_one_sentence(gpu: None, monkeypatch: pytest.MonkeyPatch) -> None:
    plugin = SimpleNamespace(__version__="0.5.0", get_ep_name=lambda: "Nv", get_library_path=lambda: "/no/such/file.so")
    monkeypatch.setitem(sys.modules, "onnxruntime_ep_nv_tensorrt_rtx", plugin)
    with pytest.raises(DeviceError, match=r"TensorRT-RTX cannot start \(.*\): update the NVIDIA driver") as caught:
        Rtx("compile")
    assert "\n" not in str(caught.value)


def test_what_the_plugin_is_told(gpu: None, bundle: Path) -> None:
    """Shapes, memory, and one file that holds everything; a plugin that writes none is an error."""
    told: dict[str, str] = {}
    rtx = Rtx("compile")
    place = rtx.place

    def listening(precision: str = "", max_batch: int | None = None, settings: Any = ()) -> Any:
        told.update(settings)
        return place(precision, max_batch, settings)

    rtx.place = listening  # type: ignore[method-assign]
    key = EngineKey("aggregator.mood", "fp32", "a" * 64, 8, 64, rtx.device)
    with pytest.raises(DeviceError, match=r"tensorrt-rtx could not build aggregator.mood \(fp32\) \(.*\)"):
        context_from_onnx(Bundle.load(bundle).file("aggregator.mood.onnx"), key, rtx)
    assert told == {
        "nv_profile_min_shapes": "embedding:1x128,state:1x257",
        "nv_profile_opt_shapes": "embedding:1x128,state:1x257",
        "nv_profile_max_shapes": "embedding:8x128,state:8x257",
        "nv_max_workspace_size": str(64 << 20),
    }


@pytest.mark.parametrize("damaged", [False, True])
def test_compiled_kernels_are_kept_for_the_next_start(
    gpu: None, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damaged: bool
) -> None:
    """In the user's cache, told to the plugin alone; those that it does not start with are thrown away."""
    told: list[dict[str, str]] = []
    put = ort.SessionOptions.add_provider_for_devices

    def listening(self: ort.SessionOptions, devices: Any, settings: dict[str, str]) -> None:
        told.append(settings)
        put(self, devices, settings)

    def refusing(self: Any, graph: bytes) -> Any:
        if damaged and told[-1]:
            raise RuntimeError("the runtime cache is damaged")
        return session(self, graph)

    session = runtime_rtx.Place.session
    monkeypatch.setattr(runtime_rtx.Place, "session", refusing)
    graph = Bundle.load(bundle).file("tensorrt.encoder.fp32.onnx")
    rtx = Rtx("listen")
    monkeypatch.setattr(ort.SessionOptions, "add_provider_for_devices", listening)
    engine = rtx.open(graph, "encoder", 4)
    assert engine.input_shapes["log_mel"][0] == 4
    folder = Path(told[0]["nv_runtime_cache_path"])
    assert folder.parent == tmp_path / "edge-lupi"
    assert folder.name.startswith("RTX-0.5.0-")
    assert (folder.is_dir(), told[1:]) == ((False, [{}]) if damaged else (True, []))


def test_built_chosen_and_heard(
    gpu: None, bundle: Path, monkeypatch: pytest.MonkeyPatch, voice: Callable[..., Any]
) -> None:
    monkeypatch.setattr(compile_engines, "context_from_onnx", lambda graph, *_, **__: graph)
    wanted = CompiledStudent(Bundle.load(bundle), "mood").utterance(voice(1, 1.0)).embedding[0]
    report = build_engines(Bundle.load(bundle), Request("tensorrt-rtx", "fp16"))
    assert report.device == Device("RTX 0.5.0", "8.9", "NVIDIA RTX 4000", 48, 20)
    assert report.choice is not None
    student = CompiledStudent(Bundle.load(bundle), "mood")
    assert student.runs_on == "GPU (fp16)"
    found = student.utterance(voice(1, 1.0)).embedding[0]
    assert wanted @ found / np.linalg.norm(wanted) / np.linalg.norm(found) > 0.99
