"""What torch makes of a graph is what ONNX Runtime makes of it."""

import os
import warnings
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from torch import nn
from torch.nn import functional as F

from edge_lupi.bundle.graph_walk import refuse_external_data
from edge_lupi.errors import InputError
from edge_lupi.runtime.engines.onnx_runtime import OnnxEngine
from edge_lupi.train.teachers.torch_graph import TorchGraph

CPU = torch.device("cpu")


class Dense(nn.Module):
    """The operators that CAM++ is made of: pooling of 100 frames spread again, gates, statistics, squeezed dimensions."""

    def __init__(self) -> None:
        super().__init__()
        self.square = nn.Conv2d(1, 4, 3, (2, 1), 1)
        self.first = nn.Conv1d(4 * 40, 16, 5, 2, 2)
        self.norm = nn.BatchNorm1d(16)
        self.far = nn.Conv1d(16, 16, 3, padding=2, dilation=2, bias=False)
        self.gate = nn.Conv1d(16, 16, 1)
        self.last = nn.Conv1d(64, 24, 1)
        self.final = nn.BatchNorm1d(24, affine=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.square(x.permute(0, 2, 1).unsqueeze(1))).flatten(1, 2)
        x = torch.relu(self.norm(self.first(x)))
        pooled = F.avg_pool1d(x, 100, 100, ceil_mode=True)
        spread = pooled.unsqueeze(-1).expand(*pooled.shape, 100).reshape(*pooled.shape[:2], -1)[..., : x.shape[-1]]
        x = torch.cat([x, self.far(x) * torch.sigmoid(self.gate(x.mean(-1, keepdim=True) + spread))], 1)
        moments = torch.cat([x.mean(-1), x.std(-1, unbiased=True)], -1)
        return self.final(self.last(moments.unsqueeze(-1)).squeeze(-1))


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("graph") / "dense.onnx"
    free = {"x": {0: "batch", 1: "frames"}, "y": {0: "batch"}}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the tracer, about shapes that are held against ONNX Runtime below
        torch.onnx.export(
            Dense().eval(),
            (torch.randn(2, 300, 80),),
            str(path),
            input_names=["x"],
            output_names=["y"],
            dynamic_axes=free,
            opset_version=17,
            dynamo=False,
        )
    return path.read_bytes()


def apart(data: bytes, shape: tuple[int, int, int]) -> float:
    heard = torch.randn(*shape, generator=torch.Generator().manual_seed(1))
    engine = OnnxEngine(data, threads=1, name="graph", check=refuse_external_data)
    wanted = next(iter(engine.run({next(iter(engine.input_shapes)): heard.numpy()}).values()))
    run = TorchGraph(data, CPU, "graph")
    first, again = run(heard), run(heard)  # with the shape's numbers found, and with those kept
    assert torch.equal(first, again)
    return float(np.abs(first.numpy() - wanted).max())


def test_as_onnx_runtime_at_any_batch_and_length(graph: bytes) -> None:
    for shape in ((1, 98, 80), (3, 198, 80), (2, 437, 80)):
        assert apart(graph, shape) < 1e-4


def test_campplus_itself() -> None:
    path = Path(os.environ.get("EDGE_LUPI_CAMPPLUS", "runs/campplus.onnx"))
    if not path.is_file():
        pytest.skip("no CAM++: export it with train/campplus.py and name it in EDGE_LUPI_CAMPPLUS")
    assert apart(path.read_bytes(), (2, 198, 80)) < 1e-3


def test_nothing_of_a_batch_is_left_behind(graph: bytes) -> None:
    run = TorchGraph(graph, CPU, "graph")
    draw = torch.Generator().manual_seed(2)
    alone, others = torch.randn(2, 198, 80, generator=draw), torch.randn(2, 198, 80, generator=draw)
    run(others)
    torch.testing.assert_close(run(alone), TorchGraph(graph, CPU, "graph")(alone))


def test_weights_and_answers_lie_on_the_device(graph: bytes) -> None:
    run = TorchGraph(graph, torch.device("meta"), "graph")
    assert run(torch.randn(4, 198, 80)).device.type == "meta"
    (kept,) = run.by_shape.values()
    floats = [value for value in kept.values() if value.dtype.is_floating_point]
    assert floats
    assert all(value.device.type == "meta" for value in floats)


def test_what_it_cannot_run_is_one_sentence() -> None:
    taken = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n"])
    given = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n"])
    nodes = [helper.make_node("Erf", ["x"], ["y"])]
    made = helper.make_model(helper.make_graph(nodes, "erf", [taken], [given]))
    with pytest.raises(InputError, match=r"expected operators that torch can run in t.onnx, got Erf: set data.sound"):
        TorchGraph(made.SerializeToString(), CPU, "t.onnx")
    with pytest.raises(InputError, match=r"expected an ONNX graph in t.onnx, got something else"):
        TorchGraph(b"\xff\xff\xff", CPU, "t.onnx")


def test_weights_that_lie_elsewhere_are_refused(graph: bytes) -> None:
    model = onnx.load_from_string(graph)
    model.graph.initializer[0].data_location = TensorProto.EXTERNAL
    with pytest.raises(InputError, match=r"expected a graph with its weights in one file in t.onnx"):
        TorchGraph(model.SerializeToString(), CPU, "t.onnx")
