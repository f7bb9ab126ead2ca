"""Engines on a GPU. The tests marked `needs_gpu` run one; the others put a pretended driver and TensorRT underneath.

The pretended ones take every call in the types that CUDA's driver declares, keep "GPU" memory apart from the CPU's, and
compute with ONNX Runtime: an engine is then its graph's own bytes.
"""

import ctypes
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from edge_lupi.bundle.bundle import Bundle
from edge_lupi.bundle.engines import FOLDER, Device, write_choice
from edge_lupi.compile import measure as measuring
from edge_lupi.compile.engines import build as compile_engines
from edge_lupi.compile.engines.build import build_engines
from edge_lupi.compile.findings import Findings
from edge_lupi.compile.request import BuilderOptions, Request
from edge_lupi.compile.student import compile_student
from edge_lupi.errors import BundleError, DeviceError, MissingExtra
from edge_lupi.metrics.bootstrap import Interval
from edge_lupi.models.files import save_student
from edge_lupi.runtime.compiled_student import CompiledStudent
from edge_lupi.runtime.engines import cuda
from edge_lupi.runtime.engines.choose import engine_lines, open_engine
from edge_lupi.runtime.engines.onnx_runtime import OnnxEngine
from edge_lupi.runtime.engines.tensorrt import TensorrtEngine, import_tensorrt

MAX_BATCH = 16
ORIN = Device("10.3.0", "8.7", "Orin", 8, 8)


class Driver:
    """libcuda.so.1 of a machine with one Orin. `held` counts what was allocated and not given back."""

    def __init__(self) -> None:
        self.memory: dict[int, Any] = {}
        self.waits, self.fails = 0, ""

    def __getattr__(self, name: str) -> Any:
        def call(*arguments: Any) -> int:
            if name == self.fails:
                return 2
            answer = getattr(Driver, f"do_{name}")(self, *arguments)
            return int(answer or 0)

        return call

    def keep(self, size: int) -> int:
        memory = (ctypes.c_char * size)()
        self.memory[ctypes.addressof(memory)] = memory
        return ctypes.addressof(memory)

    @property
    def held(self) -> int:
        return len(self.memory)

    def do_cuInit(self, flags: ctypes.c_uint) -> None:
        assert flags.value == 0

    def do_cuDeviceGetCount(self, count: Any) -> None:
        count._obj.value = 1

    def do_cuDeviceGet(self, device: Any, number: ctypes.c_int) -> None:
        device._obj.value = number.value

    def do_cuDeviceGetName(self, name: Any, length: ctypes.c_int, device: ctypes.c_int) -> None:
        assert (length.value, device.value) == (256, 0)
        name.value = b"Orin"

    def do_cuDeviceGetAttribute(self, value: Any, number: ctypes.c_int, device: ctypes.c_int) -> None:
        value._obj.value = {75: 8, 76: 7, 16: 8}[number.value]

    def do_cuDeviceTotalMem_v2(self, size: Any, device: ctypes.c_int) -> None:
        size._obj.value = 8 << 30

    def do_cuDevicePrimaryCtxRetain(self, context: Any, device: ctypes.c_int) -> None:
        context._obj.value = 77

    def do_cuCtxSetCurrent(self, context: ctypes.c_void_p) -> None:
        assert context.value == 77

    def do_cuStreamCreate(self, stream: Any, flags: ctypes.c_uint) -> None:
        stream._obj.value = 99

    def do_cuMemAlloc_v2(self, address: Any, size: ctypes.c_size_t) -> None:
        address._obj.value = self.keep(size.value)

    def do_cuMemHostAlloc(self, address: Any, size: ctypes.c_size_t, flags: ctypes.c_uint) -> None:
        address._obj.value = self.keep(size.value)

    def do_cuMemFree_v2(self, address: ctypes.c_uint64) -> None:
        del self.memory[address.value]

    def do_cuMemFreeHost(self, address: ctypes.c_void_p) -> None:
        del self.memory[address.value or 0]

    def do_cuMemcpyHtoDAsync_v2(self, to: ctypes.c_uint64, source: ctypes.c_void_p, size: Any, stream: Any) -> None:
        self.copy(to.value, source.value or 0, size.value, stream)

    def do_cuMemcpyDtoHAsync_v2(self, to: ctypes.c_void_p, source: ctypes.c_uint64, size: Any, stream: Any) -> None:
        self.copy(to.value or 0, source.value, size.value, stream)

    def copy(self, to: int, source: int, size: int, stream: ctypes.c_void_p) -> None:
        assert stream.value == 99
        assert size <= min(len(self.memory[to]), len(self.memory[source]))
        ctypes.memmove(to, source, size)

    def do_cuStreamSynchronize(self, stream: ctypes.c_void_p) -> None:
        self.waits += 1

    def do_cuGetErrorString(self, code: ctypes.c_int, text: Any) -> None:
        text._obj.value = b"out of memory"


class Engine:
    """Operator by operator: ONNX Runtime's own int8 kernels saturate on x86, where the grid is signed."""

    def __init__(self, graph: bytes) -> None:
        options = ort.SessionOptions()
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        self.session = ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        self.inputs = {item.name: tuple(item.shape) for item in self.session.get_inputs()}
        self.outputs = [item.name for item in self.session.get_outputs()]
        self.names = [*self.inputs, *self.outputs]
        self.num_io_tensors = len(self.names)
        self.num_optimization_profiles = 1

    def get_tensor_name(self, index: int) -> str:
        return self.names[index]

    def get_tensor_mode(self, name: str) -> str:
        return "in" if name in self.inputs else "out"

    def get_tensor_profile_shape(self, name: str, profile: int) -> list[tuple[Any, ...]]:
        rest = self.inputs[name][1:]
        return [(1, *rest), (1, *rest), (MAX_BATCH, *rest)]

    def create_execution_context(self) -> "Context":
        return Context(self)


class Context:
    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.addresses: dict[str, int] = {}

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        self.shapes[name] = tuple(shape)
        return True

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        zeros = {n: np.zeros(self.shapes[n], np.float32) for n in self.engine.inputs}
        return tuple(self.engine.session.run([name], zeros)[0].shape)

    def set_tensor_address(self, name: str, address: int) -> bool:
        self.addresses[name] = address
        return True

    def execute_async_v3(self, stream: int) -> bool:
        assert stream == 99
        values = self.engine.session.run(None, {n: self.view(n, self.shapes[n]) for n in self.shapes})
        for name, value in zip(self.engine.outputs, values, strict=True):
            self.view(name, value.shape)[:] = value
        return True

    def view(self, name: str, shape: tuple[int, ...]) -> Any:
        size = int(np.prod(shape))
        return np.ctypeslib.as_array((ctypes.c_float * size).from_address(self.addresses[name])).reshape(shape)


class Log:
    ERROR, INTERNAL_ERROR = "error", "internal error"


class Runtime:
    def __init__(self, log: Any) -> None:
        self.log = log

    def deserialize_cuda_engine(self, plan: bytes) -> Engine | None:
        if plan == b"foreign":
            self.log.log("error", "version tag does not match")
            return None
        return Engine(plan)


@pytest.fixture(autouse=True)
def _found_anew() -> Iterator[None]:
    cuda._look.cache_clear()
    yield
    cuda._look.cache_clear()


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> Driver:
    """A GPU under edge_lupi, with TensorRT 10.3, whose builder gives the graph back as the engine."""
    made = Driver()
    trt = SimpleNamespace(
        __version__="10.3.0", __file__=__file__, ILogger=Log, Runtime=Runtime, TensorIOMode=SimpleNamespace(INPUT="in")
    )
    load = ctypes.CDLL
    monkeypatch.setattr(
        cuda.ctypes, "CDLL", lambda name, *a, **k: made if name == cuda.LIBRARY else load(name, *a, **k)
    )
    monkeypatch.setattr("edge_lupi.runtime.engines.tensorrt.import_tensorrt", lambda _: trt)
    monkeypatch.setattr(compile_engines, "engine_from_onnx", lambda graph, *_, **__: graph)
    made.trt = trt
    return made


@pytest.fixture(scope="module")
def compiled(make_grid_student: Callable[[], Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("gpu")
    save_student(folder / "two.pt", make_grid_student())
    compile_student(folder / "two.pt", folder / "two.lupi", Request("tensorrt"))
    return folder / "two.lupi"


@pytest.fixture
def bundle(compiled: Path, tmp_path: Path) -> Path:
    return shutil.copytree(compiled, tmp_path / "two.lupi")


@pytest.mark.parametrize("graph", ["tensorrt.encoder.fp16.onnx", "aggregator.mood.onnx"])
def test_it_gives_what_the_cpu_gives(compiled: Path, driver: Driver, graph: str) -> None:
    data = Bundle.load(compiled).file(graph)
    gpu = cuda.find_gpu()
    assert gpu is not None
    assert (gpu.name, gpu.capability) == ("Orin", "8.7")
    cpu, engine = OnnxEngine(data), TensorrtEngine(data, driver.trt, gpu, name="encoder")
    assert engine.output_names == cpu.output_names
    draw, held = np.random.default_rng(0), driver.held
    for runs, batch in enumerate((1, 1, 16, 3, 1), 1):
        inputs = {
            name: np.abs(draw.normal(-3, 1, (batch, *shape[1:]))).astype(np.float32)
            for name, shape in engine.input_shapes.items()
        }
        wanted, found = cpu.run(inputs), engine.run(inputs)
        assert found.keys() == wanted.keys()
        for name in wanted:
            np.testing.assert_allclose(found[name], wanted[name], rtol=1e-4, atol=1e-4)
        assert driver.waits == runs
    assert driver.held == held == 2 * (len(engine.input_shapes) + len(engine.output_names))
    del engine
    assert driver.held == 0


def test_results_stay_what_they_were(compiled: Path, driver: Driver) -> None:
    gpu = cuda.find_gpu()
    assert gpu is not None
    engine = TensorrtEngine(Bundle.load(compiled).file("encoder.onnx"), driver.trt, gpu)
    one = engine.run({"log_mel": np.zeros((1, 80, 1, 50), np.float32)})["embedding"]
    kept = one.copy()
    engine.run({"log_mel": np.full((1, 80, 1, 50), -3, np.float32)})
    np.testing.assert_array_equal(one, kept)


@pytest.mark.parametrize(
    "inputs",
    [
        {},
        {"log_mel": np.zeros((17, 80, 1, 50), np.float32)},
        {"log_mel": np.zeros((0, 80, 1, 50), np.float32)},
        {"log_mel": np.zeros((1, 80, 1, 49), np.float32)},
        {"other": np.zeros((1, 80, 1, 50), np.float32)},
    ],
)
def test_what_it_does_not_take(compiled: Path, driver: Driver, inputs: dict[str, Any]) -> None:
    gpu = cuda.find_gpu()
    assert gpu is not None
    engine = TensorrtEngine(Bundle.load(compiled).file("encoder.onnx"), driver.trt, gpu, name="encoder")
    with pytest.raises(BundleError, match=r"encoder takes log_mel of at most \(16, 80, 1, 50\), got"):
        engine.run(inputs)


def test_what_goes_wrong_is_said(driver: Driver) -> None:
    gpu = cuda.find_gpu()
    assert gpu is not None
    with pytest.raises(BundleError, match=r"TensorRT 10.3.0 cannot load encoder \(version tag does not match\)"):
        TensorrtEngine(b"foreign", driver.trt, gpu, name="encoder")
    driver.fails = "cuMemAlloc_v2"
    with pytest.raises(DeviceError, match=r"the GPU refused cuMemAlloc_v2 \(out of memory, 2\)"):
        cuda.Buffer(gpu, (1, 2))


def test_compiled_measured_chosen_and_heard(
    bundle: Path, driver: Driver, voice: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = voice(3, 1.0)
    on_cpu = CompiledStudent(Bundle.load(bundle), "mood")
    assert on_cpu.runs_on == "CPU"
    monkeypatch.setattr(measuring, "PAUSE_SECONDS", 0.0)
    monkeypatch.setattr(Findings, "by_itself_ms", lambda _, name: {"fp16": 1.0}.get(name, 3.0))
    monkeypatch.setattr(Findings, "speedup", lambda *_: Interval(3.0, 2.9, 3.1))
    report = build_engines(Bundle.load(bundle), Request("tensorrt"))
    assert report.device == ORIN
    assert report.choice is not None
    assert report.choice.precisions.keys() == {"fp32", "fp16", "int8", "CPU"}
    assert report.choice.chosen == "fp16"
    assert all(found.cosine_worst > 0.99 for found in report.choice.precisions.values())
    assert report.plain()["engines_run_here"]
    assert report.text().count("<- chosen") == 1
    loaded = Bundle.load(bundle)
    assert [b.key.precision for b in loaded.engines if b.chosen] == ["fp16"]
    assert [line for line in engine_lines(loaded) if "fits this device" not in line] == []
    on_gpu = CompiledStudent(loaded, "mood")
    assert on_gpu.runs_on == f"GPU ({report.choice.chosen})"
    a, b = on_cpu.utterance(samples).embedding[0], on_gpu.utterance(samples).embedding[0]
    assert a @ b / np.linalg.norm(a) / np.linalg.norm(b) > 0.99


def test_what_was_asked_for_is_chosen(bundle: Path, driver: Driver) -> None:
    report = build_engines(Bundle.load(bundle), Request("tensorrt", "fp16"))
    assert report.choice is not None
    assert (report.choice.chosen, report.choice.why) == ("fp16", "fp16 was asked for")
    assert CompiledStudent(Bundle.load(bundle), "speaker").runs_on == "GPU (fp16)"


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        ("version", r"CPU: no engine in .* fits \(built for SM 8.7 with TensorRT 10.3.0; here SM 8.7 with TensorRT 10.4.0\)"),
        ("bytes", "CPU: .*does not match its sha256"),
        ("memory", r"CPU: the GPU refused cuMemAlloc_v2 \(out of memory, 2\)"),
        ("choice", r"CPU: no engine in .* fits \(another was faster or truer when it was built\)"),
    ],
)  # fmt: skip
def test_otherwise_the_cpu_with_a_reason(bundle: Path, driver: Driver, spoil: str, words: str) -> None:
    build_engines(Bundle.load(bundle), Request("tensorrt", "fp16"))
    if spoil == "version":
        driver.trt.__version__ = "10.4.0"
    elif spoil == "memory":
        driver.fails = "cuMemAlloc_v2"
    elif spoil == "choice":
        write_choice(bundle / FOLDER, ORIN, None)
    else:
        file = next((bundle / FOLDER).glob("encoder.fp16.*.plan"))
        file.write_bytes(file.read_bytes()[::-1])
    student = CompiledStudent(Bundle.load(bundle), "mood")
    assert re.match(words, student.runs_on)
    assert student.utterance(np.zeros(16_000, np.float32)).scores is not None


def test_an_engine_that_hears_something_else_is_not_used(
    bundle: Path, driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its sha256 is right, its answers are not: the golden vectors tell."""
    model = onnx.load_from_string(Bundle.load(bundle).file("encoder.onnx"))
    for item in model.graph.initializer:
        if len(item.dims) == 4:
            values = onnx.numpy_helper.to_array(item)
            item.CopyFrom(onnx.numpy_helper.from_array(np.ascontiguousarray(values[:, :, ::-1, ::-1]), item.name))
    wrong = model.SerializeToString()
    turn = lambda graph, *_, name, **__: wrong if "encoder" in name else graph  # noqa: E731
    monkeypatch.setattr(compile_engines, "engine_from_onnx", turn)
    build_engines(Bundle.load(bundle), Request("tensorrt", "fp32"))
    assert CompiledStudent(Bundle.load(bundle), "mood").runs_on.startswith("CPU: expected the golden embeddings")


def test_a_foreign_engine_is_built_anew_or_refused(bundle: Path, driver: Driver) -> None:
    build_engines(Bundle.load(bundle), Request("tensorrt", "fp16"))
    driver.trt.__version__ = "10.4.0"
    loaded = Bundle.load(bundle)
    key = compile_engines.engine_key(loaded, "encoder", "fp16", BuilderOptions(), replace(ORIN, tensorrt="10.4.0"))
    with pytest.raises(DeviceError, match=r"built for SM 8.7 with TensorRT 10.3.0; here SM 8.7 with TensorRT 10.4.0"):
        compile_engines.engine_for(loaded, key, None)
    built = compile_engines.engine_for(loaded, key, lambda graph, _: graph)
    assert built.key == key
    assert compile_engines.engine_for(loaded, key, None) == built


def test_without_a_gpu_or_tensorrt(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda, "LIBRARY", "libnothing.so.1")
    assert cuda.find_gpu() is None
    with pytest.raises(DeviceError, match="need an NVIDIA GPU, and there is none here"):
        open_engine(Bundle.load(bundle))
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(MissingExtra, match=r"JetPack has it: make the venv with --system-site-packages.*pip install"):
        import_tensorrt("compile")


@pytest.mark.parametrize(
    ("code", "closed", "words"),
    [
        (2, False, r"the GPU cannot be used \(out of memory, 2\): close what else uses the GPU, or listen"),
        (
            803,
            False,
            r"the GPU cannot be used \(out of memory, 803\): the driver's parts are of different versions: restart",
        ),
        (999, False, r"the GPU cannot be used \(out of memory, 999\): restart this machine, or install"),
        (
            100,
            True,
            r"this user may not use the GPU \(.*nvmap; out of memory, 100\): sudo usermod -aG video,render USER",
        ),
        (100, False, "$"),
    ],
)
def test_a_gpu_that_cannot_be_used_says_what_to_do(
    driver: Driver, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, code: int, closed: bool, words: str
) -> None:
    """The driver's own words and code, and a user who may not open its device nodes."""
    (tmp_path / "nvmap").touch()
    monkeypatch.setattr(cuda, "NODES", (str(tmp_path / "nvmap"),))
    monkeypatch.setattr(cuda.os, "access", lambda *_: not closed)
    monkeypatch.setattr(Driver, "cuInit", lambda *_: code, raising=False)
    assert cuda.find_gpu() is None
    assert re.match(words, cuda.why_no_gpu())


def gpu_with_tensorrt() -> bool:
    try:
        import_tensorrt("test")
    except MissingExtra:
        return False
    return cuda.find_gpu() is not None


@pytest.mark.needs_gpu
def test_on_a_real_gpu(bundle: Path, voice: Callable[..., Any]) -> None:
    if not gpu_with_tensorrt():
        pytest.skip("no GPU with TensorRT here")
    samples = voice(3, 1.0)
    wanted = CompiledStudent(Bundle.load(bundle), "mood").utterance(samples).embedding[0]
    report = build_engines(Bundle.load(bundle), Request("tensorrt"))
    assert report.choice is not None
    student = CompiledStudent(Bundle.load(bundle), "mood")
    assert student.runs_on == f"GPU ({report.choice.chosen})"
    found = student.utterance(samples).embedding[0]
    assert wanted @ found / np.linalg.norm(wanted) / np.linalg.norm(found) > 0.99
