"""int8 has to earn its place, and the gate says why."""

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from edge_lupi.compile.choice import Findings, Int8Share, Limits, Measured, Metric, choose, fastest, measure
from edge_lupi.compile.graphs.export import encoder_graph
from edge_lupi.errors import InputError
from edge_lupi.runtime.engines.onnx_runtime import OnnxEngine


def measured(p50_ms: float, mean: float = 1.0, worst: float = 1.0, metric: float | None = None) -> Measured:
    return Measured(p50_ms, p50_ms * 1.2, 1000, mean, worst, metric)


FP32 = measured(3.0)


def test_int8_that_is_faster_and_close_is_taken() -> None:
    choice = choose(Findings({"fp32": FP32, "int8": measured(1.5, 0.999, 0.99)}), "auto")
    assert choice.chosen == "int8"
    assert choice.why == (
        "int8 is 2.00 times as fast as fp32 here and keeps a cosine of 0.9990 (worst 0.9900) to the float student"
    )


@pytest.mark.parametrize(
    ("int8", "why"),
    [
        (measured(3.1), r"int8 is not faster on this device \(3.10 ms a segment against 3.00 ms\)"),
        (measured(3.0), "int8 is not faster"),
        (measured(1.0, mean=0.98), r"int8 strays from the float student \(cosine mean 0.9800, worst 1.0000; allowed"),
        (measured(1.0, worst=0.9), r"int8 strays .*worst 0.9000; allowed 0.99, 0.95\)"),
        (measured(1.0, mean=float("nan"), worst=float("nan")), "int8 strays"),
        (None, "the student has no quantisation ranges: fine-tune it with edge-lupi train qat for int8"),
    ],
)
def test_otherwise_fp32_with_a_reason(int8: Measured | None, why: str) -> None:
    found = {"fp32": FP32} if int8 is None else {"fp32": FP32, "int8": int8}
    choice = choose(Findings(found), "auto")
    assert choice.chosen == "fp32"
    assert re.match(why, choice.why)
    assert choice.precisions == found


UAR, EER = Metric("uar", 0.584, "300 utterances"), Metric("eer", 0.036, "1024 trials")


@pytest.mark.parametrize(
    ("metric", "value", "max_drop", "chosen", "why"),
    [
        (UAR, 0.572, 0.005, "fp32", "int8 loses 1.20 points of UAR against the float student (UAR 57.20 % against 58.40 %; allowed 0.5)"),
        (EER, 0.046, 0.005, "fp32", "int8 loses 1.00 points of EER against the float student (EER 4.60 % against 3.60 %; allowed 0.5)"),
        (UAR, 0.579, 0.005, "int8", "int8 is 3.00 times as fast as fp32 here and keeps a cosine of 1.0000 (worst 1.0000) to the float student, UAR 57.90 % against 58.40 %"),
        (UAR, 0.572, 0.02, "int8", None),
        (UAR, 0.7, 0.0, "int8", None),
        (EER, 0.001, 0.0, "int8", None),
        (EER, float("nan"), 0.5, "fp32", None),
    ],
)  # fmt: skip
def test_the_tasks_own_metric_decides(metric: Metric, value: float, max_drop: float, chosen: str, why: str) -> None:
    fp32 = measured(3.0, metric=metric.float_student)
    found = Findings({"fp32": fp32, "int8": measured(1.0, metric=value)}, 200, metric)
    for choice in (choose(found, "auto", Limits(max_drop)), fastest(found, "auto", Limits(max_drop))):
        assert choice.chosen == chosen
    assert why is None or choose(found, "auto", Limits(max_drop)).why == why


@pytest.mark.parametrize("max_drop", [-0.1, 1.1, float("nan")])
def test_a_drop_is_a_fraction(max_drop: float) -> None:
    with pytest.raises(InputError, match=r"expected --max-drop from 0 to 1 \(0.005 is half a point\), got"):
        Limits(max_drop)


@pytest.mark.parametrize("asked", ["fp32", "int8"])
def test_what_is_asked_for_is_taken(asked: str) -> None:
    choice = choose(Findings({"fp32": FP32, "int8": measured(9.0)}), asked)
    assert (choice.chosen, choice.why) == (asked, f"{asked} was asked for")


def test_what_is_asked_for_is_taken_in_spite_of_a_fault_that_is_said() -> None:
    choice = choose(Findings({"fp32": FP32, "int8": measured(1.0, 0.5, 0.1)}), "int8")
    assert choice.chosen == "int8"
    assert choice.why.startswith("int8 was asked for, although int8 strays from the float student (cosine mean 0.5000,")


@pytest.mark.parametrize(
    ("found", "asked", "chosen", "why"),
    [
        ({"fp32": FP32, "fp16": measured(1.0), "int8": measured(0.9)}, "auto", "int8", "int8 is the fastest on this GPU that is close enough"),
        ({"fp32": FP32, "fp16": measured(0.8), "int8": measured(0.9)}, "auto", "fp16", "fp16 is the fastest"),
        ({"fp32": FP32, "int8": measured(0.9, worst=0.9)}, "auto", "fp32", "fp32 is .* close enough; int8 strays from the float student"),
        ({"fp16": measured(1.0, mean=float("nan"))}, "auto", "fp32", "nothing is close enough to the float student; fp16 strays"),
        ({"fp16": measured(9.0, 0.5, 0.1)}, "fp16", "fp16", "fp16 was asked for"),
    ],
)  # fmt: skip
def test_on_a_gpu_the_fastest_that_is_close(found: dict[str, Measured], asked: str, chosen: str, why: str) -> None:
    choice = fastest(Findings(found), asked)
    assert choice.chosen == chosen
    assert re.match(why, choice.why)
    assert choice.precisions == found


def test_the_table() -> None:
    lines = choose(Findings({"fp32": FP32, "int8": measured(1.5)}, 7), "auto").table().splitlines()
    assert lines[0].split() == ["precision", "p50", "ms", "p99", "ms", "bytes", "cosine", "mean", "worst"]
    assert [line.split()[0] for line in lines[1:3]] == ["fp32", "int8"]
    assert [line.endswith("<- chosen") for line in lines] == [False, False, True, False]
    assert lines[3] == "cosines to the float student on 7 segments"


def test_the_table_with_a_metric_and_what_runs_in_8_bits() -> None:
    share = {"fp32": Int8Share(0, 10, 0, 27), "int8": Int8Share(10, 10, 21, 34)}
    found = {n: Measured(1, 2, 3, 1, 1, 0.584 if n == "fp32" else 0.579, share[n]) for n in share}
    lines = choose(Findings(found, 400, UAR), "int8").table().splitlines()
    assert lines[0].endswith("worst  UAR %  int8 layers  int8 nodes")
    assert lines[2].split()[-9:] == ["57.90", "10", "of", "10", "21", "of", "34", "<-", "chosen"]
    assert lines[3] == "cosines to the float student on 400 segments, UAR on 300 utterances"


def test_measuring_a_graph_against_what_it_should_give(make_grid_student: Callable[[], Any]) -> None:
    graph = encoder_graph(make_grid_student().student).SerializeToString()
    engine = {"fp32": OnnxEngine(graph)}
    segments = np.random.default_rng(0).normal(-5, 2, (3, 80, 1, 50)).astype(np.float32)
    wanted = engine["fp32"].run({"log_mel": segments})["embedding"]
    found = measure(engine, {"fp32": 7}, segments, wanted)["fp32"]
    assert 0 < found.p50_ms <= found.p99_ms
    assert found.bytes == 7
    assert found.cosine_worst == pytest.approx(1, abs=1e-5)
    wanted[1] *= -1
    other = measure(engine, {"fp32": 7}, segments, wanted)["fp32"]
    assert other.cosine_worst == pytest.approx(-1, abs=1e-5)
    assert other.cosine_mean == pytest.approx(1 / 3, abs=1e-5)
