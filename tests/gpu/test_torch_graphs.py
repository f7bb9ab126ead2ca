"""What computes engines on a real GPU where TensorRT is not installed gives what ONNX Runtime gives; here on torch's CPU."""

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import onnxruntime as ort
import pytest

torch = pytest.importorskip("torch")
FILE = Path(__file__).parent / "pretended" / "tensorrt" / "on_torch.py"


@pytest.fixture(scope="module")
def on_torch() -> ModuleType:
    spec = importlib.util.spec_from_file_location("on_torch", FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_it_gives_what_onnxruntime_gives(compiled: Path, on_torch: ModuleType, precision: str) -> None:
    from edge_lupi.bundle.bundle import Bundle

    bundle = Bundle.load(compiled)
    data = bundle.file(bundle.tensorrt_graphs["encoder"][precision])
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    draw = np.random.default_rng(0)
    given = {
        item.name: np.abs(draw.normal(-3, 1, (3, *item.shape[1:]))).astype(np.float32) for item in session.get_inputs()
    }
    graph = on_torch.Graph(data, "cpu")
    found = graph.run({key: torch.from_numpy(values) for key, values in given.items()})
    assert list(found) == [item.name for item in session.get_outputs()]
    close = {"fp32": 1e-4, "fp16": 1e-2, "int8": 1e-2}[precision]  # int8: a sum at a step's edge falls to either side
    for key, wanted in zip(found, session.run(None, given), strict=True):
        np.testing.assert_allclose(found[key].float().numpy(), wanted, rtol=close, atol=close)
