"""int8 has to earn its place, and the choice says why."""

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from edge_lupi.compile import timing
from edge_lupi.compile.choice import Limits, choose, fastest
from edge_lupi.compile.findings import Findings, Int8Share, Measured, Metric
from edge_lupi.compile.graphs.export import encoder_graph
from edge_lupi.compile.measure import measure
from edge_lupi.compile.outcome import Outcome
from edge_lupi.errors import InputError
from edge_lupi.metrics.bootstrap import Interval
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
    with pytest.raises(InputError, match=r"expected max_drop from 0 to 1 \(0.005 is half a point\), got"):
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
    found = measure(engine, {"fp32": 7}, segments, wanted).precisions["fp32"]
    assert 0 < found.p50_ms <= found.p99_ms
    assert found.bytes == 7
    assert found.cosine_worst == pytest.approx(1, abs=1e-5)
    wanted[1] *= -1
    other = measure(engine, {"fp32": 7}, segments, wanted).precisions["fp32"]
    assert other.cosine_worst == pytest.approx(-1, abs=1e-5)
    assert other.cosine_mean == pytest.approx(1 / 3, abs=1e-5)


class Encoder:
    """An engine that computes for so long, and sleeps for so long, as others having the processor would make it."""

    input_shapes: Mapping[str, tuple[Any, ...]] = {"log_mel": ("batch", 80, 1, 50)}

    def __init__(self, ms: float, sleeps_ms: float = 0.0) -> None:
        self.ms, self.sleeps_ms = ms, sleeps_ms

    def run(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        until = time.thread_time() + self.ms / 1000
        while time.thread_time() < until:
            pass
        time.sleep(self.sleeps_ms / 1000)
        return {"embedding": np.ones((len(inputs["log_mel"]), 4), np.float32)}


def compared(**engines: Encoder) -> Findings:
    segments = np.zeros((2, 80, 1, 50), np.float32)
    return measure(engines, dict.fromkeys(engines, 1), segments, np.ones((2, 4), np.float32))


def test_how_many_times_as_fast_comes_with_an_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "SECONDS", 0.0)
    findings = compared(fp32=Encoder(0.6), int8=Encoder(0.2))
    speedup = findings.precisions["int8"].speedup
    assert speedup is not None
    assert 0 < speedup.low <= speedup.value <= speedup.high
    assert speedup.value > 1
    assert findings.precisions["fp32"].speedup is None
    certain = replace(findings.precisions["int8"], speedup=Interval(3.0, 2.9, 3.1))
    why = choose(replace(findings, precisions={**findings.precisions, "int8": certain}), "auto").why
    assert why.startswith("int8 is 3.00 times as fast as fp32 here (95 % 2.90 to 3.10) and keeps")


def test_a_difference_within_the_interval_is_none() -> None:
    int8 = replace(measured(2.9), speedup=Interval(1.03, 0.97, 1.1))
    choice = choose(Findings({"fp32": FP32, "int8": int8}), "auto")
    assert choice.chosen == "fp32"
    assert choice.why == (
        "int8 is not faster on this device (2.90 ms a segment against 3.00 ms, 1.03 times as fast (95 % 0.97 to 1.10))"
    )


def test_a_busy_machine_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the processor's time and the wall's part, others had it: said with the choice and below the table."""
    monkeypatch.setattr(timing, "SECONDS", 0.0)
    said = "the machine is busy: [0-9]+ % of the time went to others, compile again when it is idle"
    choice = choose(compared(fp32=Encoder(0.6, 0.6), int8=Encoder(0.2, 0.2)), "auto")
    assert re.search(f"; {said}$", choice.why)
    assert re.fullmatch(said, choice.table().splitlines()[-1])
    assert not Findings({"fp32": FP32}, waited=0.05).busy


def outcome(wrong: list[int]) -> Outcome:
    """162 utterances of two classes in turn, some of which are taken for the other."""
    truth = np.arange(162) % 2
    said = truth.copy()
    said[wrong] = 1 - said[wrong]
    return Outcome("uar", said, truth, np.arange(162))


def findings_of(lost: list[int]) -> Findings:
    as_float, rounded = outcome([0, 1]), outcome([0, 1, *lost])
    precisions = {
        "fp32": measured(3.0, metric=as_float.value),
        "int8": replace(measured(1.0, metric=rounded.value), loss=rounded.loss(as_float)),
    }
    return Findings(precisions, 400, Metric("uar", as_float.value, "162 utterances"))


def test_two_clips_of_162_are_chance_and_twenty_are_not() -> None:
    """A paired test: the same utterances are drawn for both, and --max-drop is held against the interval."""
    for decide in (choose, fastest):
        chance, real = decide(findings_of([50, 51]), "auto"), decide(findings_of(list(range(20, 40))), "auto")
        assert (chance.chosen, real.chosen) == ("int8", "fp32")
        assert re.search(
            r"it loses 1\.23 points of UAR \(95 % 0\.00 to \d\.\d+: 2 of 162 utterances lost, 0 won\) against the float "
            r"student, which chance explains \(allowed 0\.5\)",
            chance.why,
        )
        assert re.search(r"int8 loses 12\.35 points of UAR \(95 % .*: 20 of 162 utterances lost, 0 won\)", real.why)


def test_trials_are_paired_too() -> None:
    draw = np.random.default_rng(0)
    truth, enrolled = draw.random(400) < 0.3, np.arange(400) % 20
    scores = truth * 1.5 + draw.normal(0, 1, 400)
    as_float = Outcome("eer", scores, truth, enrolled)
    same = Outcome("eer", scores + draw.normal(0, 0.01, 400), truth, enrolled).loss(as_float)
    worse = Outcome("eer", draw.normal(0, 1, 400), truth, enrolled).loss(as_float)
    assert abs(same.value) < 0.01
    assert same.low <= 0.005 < 0.1 < worse.low
