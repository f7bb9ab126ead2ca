"""Time per hop: the parts, their sum, a busy machine, and that it is what listening costs."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import numpy as np
import pytest

from edge_lupi import Listener, SoundFile, shipped_bundle
from edge_lupi.bundle.bundle import Bundle
from edge_lupi.device.bench.hops import HopReport, measure
from edge_lupi.device.bench.percentiles import Percentiles
from edge_lupi.sound.audio import read_audio

PARTS = ("front_end", "gate", "encoder", "aggregator", "tracker", "hop", "listener")
TWO_VOICES = Path(__file__).parents[3] / "examples" / "two_voices.flac"


@pytest.fixture(scope="module")
def report(mood_chain: Any) -> HopReport:
    return measure(Bundle.load(mood_chain.folder / "student.lupi"), None, 92.0)


def test_a_hop_is_the_sum_of_its_parts(report: HopReport) -> None:
    assert report.hops == 368  # 92 s every 0.25 s
    assert tuple(report.parts) == PARTS
    for part in report.parts.values():
        for times in (part.wall, part.thread):
            assert 0 < times.p50_ms <= times.p90_ms <= times.p99_ms <= times.max_ms  # type: ignore[operator]
    thread = {name: part.thread for name, part in report.parts.items()}
    parts = [thread[name].p50_ms or 0 for name in PARTS[:-2]]
    assert max(parts) <= (thread["hop"].p50_ms or 0) <= sum(thread[name].p99_ms or 0 for name in PARTS[:-2])
    assert (thread["listener"].p50_ms or 0) > (thread["hop"].p50_ms or 0)
    assert report.real_time_factor > (thread["hop"].p50_ms or 0) / 250 / 2  # a mean, which a busy machine raises


def test_percentiles_are_numpys_on_the_raw_times(report: HopReport) -> None:
    for column, times in enumerate((report.parts["listener"].wall, report.parts["listener"].thread)):
        raw = report.times_ms[:, column]
        assert len(raw) == times.count == report.hops
        assert np.allclose([times.p50_ms, times.p90_ms, times.p99_ms], np.percentile(raw, [50, 90, 99]), rtol=1e-12)  # type: ignore[arg-type]
        assert times == Percentiles.of(raw)


def test_text_and_json(report: HopReport) -> None:
    found = json.loads(json.dumps(report.plain()))
    assert found["listener"] == found["parts"]["listener"]
    assert found["listener"]["p99_ms"] == report.parts["listener"].wall.p99_ms
    assert found["listener"]["thread"]["p50_ms"] == report.parts["listener"].thread.p50_ms
    text = report.text()
    assert "student.lupi: 368 hops of 0.25 s on one thread, burst" in text
    assert all(name in text for name in PARTS)
    assert "too few" not in text


def test_too_few_hops_are_said(mood_chain: Any) -> None:
    found = measure(Bundle.load(mood_chain.folder / "student.lupi"), None, 5.0)
    assert "too few hops: p90 needs 36, p99 needs 368 for a 95 % interval, these are 20; 92 s would do" in found.text()
    assert found.plain()["listener"]["p99_ms"] is None


def test_two_bundles_together_and_each_alone() -> None:
    found = measure([Bundle.load(shipped_bundle(task)) for task in ("speaker", "emotion")], None, 5.0)
    tasks = ("speaker", "emotion")
    each = [f"{part} {task}" for task in tasks for part in ("encoder", "aggregator")]
    assert list(found.parts) == ["front_end", "gate", *each, *(f"tracker {task}" for task in tasks), "hop", "listener"]
    assert list(found.apart) == ["speaker.lupi", "emotion.lupi"]
    assert f"{'speaker.lupi alone':<20}" in found.text()
    assert "the sum of each alone" in found.text()


def test_at_a_microphones_pace(mood_chain: Any) -> None:
    began = time.perf_counter()
    found = measure(Bundle.load(mood_chain.folder / "student.lupi"), None, 2.0, paced=True)
    assert time.perf_counter() - began >= 2.0
    assert (found.mode, found.hops) == ("paced", 8)
    assert found.times_ms[:, 1].sum() < 1000  # waiting is not counted


BURN = (
    "import os\nos.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\nprint('burns', flush=True)\nwhile True: pass"
)


def test_a_machine_made_busy_says_so() -> None:
    before = os.sched_getaffinity(0)
    others = [subprocess.Popen([sys.executable, "-c", BURN], stdout=subprocess.PIPE) for _ in range(2)]
    try:
        for other in others:
            assert other.stdout is not None
            assert other.stdout.readline()
        os.sched_setaffinity(0, {min(before)})
        found = measure(Bundle.load(shipped_bundle("speaker")), None, 100.0)
    finally:
        os.sched_setaffinity(0, before)
        for other in others:
            other.kill()
            other.communicate()
    assert found.is_busy
    assert found.plain()["busy"] is True
    assert "the machine is busy: a hop took" in found.text()
    wall, thread = found.times_ms.sum(axis=0)
    assert wall > 1.5 * thread


def test_a_quiet_machine_does_not() -> None:
    part = measure(Bundle.load(shipped_bundle("speaker")), None, 5.0)
    quiet = HopReport(part.bundle, "burst", 10, 0.5, part.parts, 0.02, 0.01, "CPU", part.times_ms)
    assert "busy" not in quiet.text()
    assert "could follow 50 streams" in quiet.text()
    on_gpu = HopReport(part.bundle, "burst", 10, 0.5, part.parts, 0.02, 0.6, "GPU (fp16)", part.times_ms)
    assert not on_gpu.is_busy


def test_it_is_what_listening_costs(record_property: Callable[[str, object], None]) -> None:
    """Cost per hop of the same recording by `bench` and by `Listener.listen`, in turn; medians of thread time."""
    listener, ratios = Listener(shipped_bundle("speaker"), gallery=None), list[float]()
    seconds = len(read_audio(TWO_VOICES)) / 16_000
    hops = seconds / listener.segmentation.hop_seconds
    for _ in range(7):
        found = measure(listener.student.bundle, None, seconds, sound=TWO_VOICES)
        began = time.thread_time()
        events = list(listener.listen(SoundFile(TWO_VOICES)))
        listening_ms = 1000 * (time.thread_time() - began) / hops
        ratios.append(float(found.times_ms[:, 1].mean()) / listening_ms)
        assert events
    ratio = float(np.median(ratios))
    record_property("ratio", ratio)
    print(f"bench / listen {ratio:.3f}, single pairs {min(ratios):.3f} to {max(ratios):.3f}")
    assert 0.75 < ratio < 1.33, ratios


def test_through_the_command_line(mood_chain: Any, cli: Callable[..., CompletedProcess[str]]) -> None:
    done = cli("bench", mood_chain.folder / "student.lupi", "--seconds", "2", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    found = json.loads(done.stdout)
    assert found.keys() >= {"bundle", "hops", "hop_seconds", "parts", "listener", "real_time_factor", "environment"}
    assert (found["bundle"], found["hops"], found["mode"]) == ("student.lupi", 8, "burst")
    assert found["listener"].keys() >= {"p50_ms", "p90_ms", "p99_ms", "max_ms", "count", "thread"}
    assert found["environment"].keys() >= {"cpu", "cores", "threads", "system", "python", "onnxruntime", "edge_lupi"}
    assert found["environment"].keys() >= {"governor", "power_mode", "affinity", "load", "temperature_c", "gpu"}
