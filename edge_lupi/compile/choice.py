"""Choice of a precision, with a reason: the fastest that is as good as the float student, on what was measured on this device.

An int8 that is not faster than fp32, further from the float student than allowed, or worse at its task is not chosen; nor
is a GPU that is not faster than the CPU. A figure counts as worse, or as faster, where its interval says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from edge_lupi.compile.findings import CPU, LIVE_BATCH, Findings, Loss, Measured
from edge_lupi.errors import InputError
from edge_lupi.metrics.bootstrap import Interval

__all__ = ["Choice", "Limits", "choose", "fastest"]

ROUNDING = 1e-9  # of differences of fractions


@dataclass(frozen=True)
class Limits:
    """How far from the float student a precision may be and still be chosen: cosines, and loss in the task's metric.

    `max_drop` is a fraction: 0.005 is half a point of EER or UAR.
    """

    max_drop: float = 0.005
    cosine_mean: float = 0.99
    cosine_worst: float = 0.95

    def __post_init__(self) -> None:
        if not 0 <= self.max_drop <= 1:
            raise InputError(
                f"expected max_drop from 0 to 1 (0.005 is half a point), got {self.max_drop}", options=("max_drop",)
            )


@dataclass(frozen=True)
class Choice:
    """What was chosen of what was measured, and why, in one sentence."""

    findings: Findings
    chosen: str
    why: str

    @property
    def precisions(self) -> Mapping[str, Measured]:
        """What was chosen among."""
        return self.findings.precisions

    def plain(self) -> dict[str, Any]:
        """As JSON has it."""
        findings = self.findings
        return {
            "precisions": {name: asdict(one) for name, one in findings.precisions.items()},
            "chosen": self.chosen,
            "why": self.why,
            "metric": asdict(findings.metric) if findings.metric else None,
            "segments": findings.segments,
            "waited": findings.waited,
        }

    def table(self) -> str:
        """For people."""
        return self.findings.table(self.chosen)


def choose(findings: Findings, asked: str, limits: Limits | None = None) -> Choice:
    """Take what was asked for, or for "auto" int8 where it is faster and as good as the float student, else fp32."""
    if asked != "auto":
        return _as_asked(findings, asked, limits)
    if "int8" not in findings.precisions:
        why = "the student has no quantisation ranges: fine-tune it with edge-lupi train qat for int8"
        return Choice(findings, "fp32", why)
    int8, fp32 = findings.precisions["int8"], findings.precisions["fp32"]
    if fault := _fault(findings, "int8", limits):
        return Choice(findings, "fp32", fault)
    ratio, busy = findings.speedup("int8", "fp32"), f"; {findings.busy}" if findings.busy else ""
    if not ratio.low > 1:
        times = f"{int8.p50_ms:.2f} ms a segment against {fp32.p50_ms:.2f} ms{_times_as_fast(ratio)}"
        return Choice(findings, "fp32", f"int8 is not faster on this device ({times}){busy}")
    why = (
        f"int8 is {ratio.value:.2f} times as fast as fp32 here{_between(ratio)} and keeps a cosine of "
        f"{int8.cosine_mean:.4f} (worst {int8.cosine_worst:.4f}) to the float student"
    )
    why += f", {said}" if (said := _beside_float(findings, "int8")) else ""
    return Choice(findings, "int8", f"{why}{_by_chance(findings, 'int8', limits)}{busy}")


def fastest(findings: Findings, asked: str, limits: Limits | None = None) -> Choice:
    """Take what was asked for, or for "auto" the fastest that is as good as the float student, the CPU where no GPU is."""
    if asked != "auto":
        return _as_asked(findings, asked, limits)
    faults = {name: _fault(findings, name, limits) for name in findings.precisions if name != CPU}
    said = "".join(f"; {fault}" for fault in faults.values() if fault)
    if findings.metric is None:
        said += f"; provisional, on {findings.segments} segments that came with the bundle: edge-lupi compile --data CORPUS judges by the task"
    close = [name for name, fault in faults.items() if not fault]
    if not close:
        spare = CPU if CPU in findings.precisions else "fp32"
        return Choice(findings, spare, f"nothing is close enough to the float student{said}")
    chosen = min(close, key=findings.by_itself_ms)
    said = _by_chance(findings, chosen, limits) + said
    if CPU in findings.precisions and not (ratio := findings.speedup(chosen, CPU)).low > 1:
        how = f"for {findings.batch} segments at once" if findings.batch > LIVE_BATCH else "a segment"
        on_cpu, on_gpu = findings.beside_ms(CPU, chosen), findings.beside_ms(chosen, CPU)
        times = f"{on_cpu:.2f} ms {how} against {on_gpu:.2f} ms of {chosen} on the GPU{_times_as_fast(ratio)}"
        return Choice(findings, CPU, f"the CPU is as fast here ({times}){said}")
    return Choice(findings, chosen, f"{chosen} is the fastest on this GPU that is close enough{said}")


def _as_asked(findings: Findings, asked: str, limits: Limits | None) -> Choice:
    fault = _fault(findings, asked, limits)
    return Choice(findings, asked, f"{asked} was asked for" + (f", although {fault}" if fault else ""))


def _fault(findings: Findings, name: str, limits: Limits | None) -> str:
    """Why a precision is not as good as the float student; empty where it is, or where chance explains the difference."""
    one, allowed = findings.precisions[name], limits or Limits()
    if not (one.cosine_mean >= allowed.cosine_mean and one.cosine_worst >= allowed.cosine_worst):  # NaN, too
        return (
            f"{name} strays from the float student (cosine mean {one.cosine_mean:.4f}, worst {one.cosine_worst:.4f}; "
            f"allowed {allowed.cosine_mean}, {allowed.cosine_worst})"
        )
    loss = findings.loss(name)
    if loss is None or loss.low <= allowed.max_drop + ROUNDING:
        return ""
    return (
        f"{name} loses {_points(findings, loss)} ({_beside_float(findings, name)}; allowed {100 * allowed.max_drop:g})"
    )


def _by_chance(findings: Findings, name: str, limits: Limits | None) -> str:
    """That a precision loses more than is allowed, by no more than chance explains; empty where it does not."""
    loss, allowed = findings.loss(name), (limits or Limits()).max_drop
    if loss is None or loss.value <= allowed + ROUNDING:
        return ""
    return f"; it loses {_points(findings, loss)}, which chance explains (allowed {100 * allowed:g}): more speech says more"


def _points(findings: Findings, loss: Loss) -> str:
    assert findings.metric is not None
    clips = "" if loss.lost is None else f": {loss.lost} of {findings.metric.measured_on} lost, {loss.won} won"
    between = "" if loss.low == loss.high else f" (95 % {_percent(loss.low)} to {_percent(loss.high)}{clips})"
    return f"{100 * loss.value:.2f} points of {findings.metric.name.upper()}{between} against the float student"


def _percent(fraction: float) -> str:
    """Without a minus before nothing."""
    return f"{round(100 * fraction, 2) + 0.0:.2f}"


def _beside_float(findings: Findings, name: str) -> str:
    """A precision's metric beside the float student's; empty where there is none."""
    value = findings.precisions[name].metric
    if findings.metric is None or value is None:
        return ""
    return f"{findings.metric.name.upper()} {100 * value:.2f} % against {100 * findings.metric.float_student:.2f} %"


def _times_as_fast(ratio: Interval) -> str:
    return "" if ratio.low == ratio.high else f", {ratio.value:.2f} times as fast{_between(ratio)}"


def _between(ratio: Interval) -> str:
    return "" if ratio.low == ratio.high else f" (95 % {ratio.low:.2f} to {ratio.high:.2f})"
