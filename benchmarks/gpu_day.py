"""The first minutes with a GPU: does what was built without one hold there? One command, whatever fails.

python benchmarks/gpu_day.py                   # on a machine with an NVIDIA GPU; within two and a half minutes
python benchmarks/gpu_day.py --pretended       # a dry run on the pretended driver, which needs a C compiler
python benchmarks/gpu_day.py --only rules,speeds

Every stage (`gpu_stages.py`) is a process of its own with a time limit, so that one that crashes or hangs costs the others
nothing. Each line is one JSON object as soon as it is known; the table comes at the end, with the device's name. Where
TensorRT is not installed, torch computes the engines on the caller's stream and addresses (`tests/gpu/pretended`), so that
all of `runtime/tensorrt.py` and `runtime/cuda.py` runs for real. It needs the repository, torch, onnx, onnxruntime, typer, rich,
soundfile and soxr (with cffi); no PortAudio, no internet.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PRETENDED = ROOT / "tests" / "gpu" / "pretended"
# Stages of one group run at the same time; those that measure time are alone. Seconds that each may take.
GROUPS: tuple[dict[str, float], ...] = (
    {"here": 30, "bundle:speaker": 60, "bundle:emotion": 60},
    {"driver": 30},
    {"verbs:speaker": 60, "verbs:emotion": 60},
    {"speeds": 45},
    {"hops:speaker": 40},
    {"turns:speaker": 45, "turns:emotion": 45, "rules": 40, "lost": 40, "child": 30, "sanitizer": 60},
)
STAGES = [name for group in GROUPS for name in group]


def environment(work: Path, pretended: bool) -> dict[str, str]:
    """What the stages run in: this repository, nobody enrolled, and a TensorRT."""
    paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
    made = {"XDG_DATA_HOME": str(work / "xdg"), "XDG_CACHE_HOME": str(work / "xdg"), "OMP_NUM_THREADS": "1"}
    made["PYTHONUNBUFFERED"] = "1"
    if pretended:
        subprocess.run(["bash", PRETENDED / "build.sh", work], check=True)
        made["LD_LIBRARY_PATH"] = f"{work}:{os.environ.get('LD_LIBRARY_PATH', '')}"
    if pretended or find_spec("tensorrt") is None:
        paths.insert(0, str(PRETENDED))
    return {**os.environ, **made, "PYTHONPATH": ":".join(filter(None, paths))}


class Day:
    """All rows that the stages told, as they come: printed, and kept in a file."""

    def __init__(self, work: Path, seconds: float, inherited: dict[str, str]) -> None:
        self.work, self._environment = work, inherited
        self._began, self._seconds = time.time(), seconds

    @property
    def left(self) -> float:
        """Seconds until all must have ended."""
        return self._began + self._seconds - time.time()

    def tell(self, stage: str, said: str) -> None:
        """A row about a stage that cannot tell itself."""
        row = {"stage": stage, "what": "the stage itself", "ok": False, "said": said}
        with (self.work / "rows.jsonl").open("a") as file:
            print(json.dumps(row), file=file)
        print(json.dumps(row), flush=True)

    def run(self, group: dict[str, float]) -> None:
        """Start the stages of a group, and wait for each as long as it may take."""
        began = time.time()
        running = {name: self._start(name) for name in group if self.left > 5}
        for name in group:
            if name not in running:
                self.tell(name, "left out: no time is left")
                continue
            process = running[name]
            try:
                code = process.wait(max(0.1, min(began + group[name] - time.time(), self.left)))
            except subprocess.TimeoutExpired:
                self.tell(name, f"stopped after {time.time() - began:.0f} s")
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                continue
            if code:
                end = f"ended by signal {-code}" if code < 0 else f"ended with {code}"
                said = self._stderr(name).read_text(errors="replace").strip().splitlines()[-8:]
                self.tell(name, f"{end}: {' | '.join(reversed(said))[:900]}")  # the last line says most

    def _stderr(self, name: str) -> Path:
        return self.work / f"{name.replace(':', '.')}.err"

    def _start(self, name: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, ROOT / "benchmarks" / "gpu_stages.py", name, self.work, f"{self._began}"]
        with self._stderr(name).open("wb") as errors:
            return subprocess.Popen(command, stderr=errors, env=self._environment, cwd=ROOT, start_new_session=True)

    def rows(self) -> list[dict[str, Any]]:
        """What has been told."""
        file = self.work / "rows.jsonl"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def table(rows: list[dict[str, Any]], device: str, seconds: float) -> Iterator[str]:
    failed = sum(not row["ok"] for row in rows)
    yield f"{device}: {len(rows)} lines, {failed} of them not as they should be, {seconds:.0f} s"
    for row in rows:
        mark = "ok  " if row["ok"] else "FAIL"
        taken = f"{row['seconds']:7.1f}" if "seconds" in row else " " * 7
        yield f"{mark} {row['stage']:<16}{row['what']:<34}{taken}  {' '.join(row['said'].split())[:150]}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pretended", action="store_true", help="a dry run on the pretended driver")
    parser.add_argument("--only", default="", help="stages, with a comma; what they need is made, too")
    parser.add_argument("--seconds", type=float, default=150.0, help="after which all ends")
    parser.add_argument("--out", type=Path, help="a folder for the rows and what the stages said on stderr")
    asked = parser.parse_args()
    began, only = time.time(), set(asked.only.split(",")) if asked.only else set(STAGES)
    if only - set(STAGES):
        raise SystemExit(f"expected --only of {', '.join(STAGES)}; got {asked.only}")
    only |= {"here", "bundle:speaker", "bundle:emotion", "driver"}
    with tempfile.TemporaryDirectory() as folder:
        work = asked.out or Path(folder)
        work.mkdir(parents=True, exist_ok=True)
        (work / "rows.jsonl").unlink(missing_ok=True)
        day = Day(work, asked.seconds, environment(work, asked.pretended))
        for group in GROUPS:
            day.run({name: limit for name, limit in group.items() if name in only})
        rows = day.rows()
    device = next((row["device"] for row in rows if "device" in row), "no GPU was found")
    print("\n".join(table(rows, device, time.time() - began)))
    print(json.dumps({"device": device, "failed": [r["stage"] for r in rows if not r["ok"]], "lines": len(rows)}))


if __name__ == "__main__":
    main()
