"""A GPU for tests on a machine that has none: the pretended driver, built once a session, under processes of their own.

- `pretended_gpu`: environment variables of a process that has that GPU and the pretended TensorRT.
- `on_gpu(*words, **settings)`: `edge-lupi words...` there; settings are PRETENDED_CUDA_... and PRETENDED_TENSORRT_...
- `gpu_bundle`: a copy of a bundle of two tasks with the graphs that engines are built from.
- `built_bundle`: the same after `compile --target tensorrt --precision fp32` there.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.warm import EDGE, Warm

PRETENDED = Path(__file__).parent / "pretended"
ROOT = Path(__file__).parents[2]
SETTINGS = {
    "count": "CUDA_COUNT", "name": "CUDA_NAME", "sms": "CUDA_SMS", "memory": "CUDA_MEMORY", "driver": "CUDA_DRIVER",
    "delay_us": "CUDA_DELAY_US", "fail": "CUDA_FAIL", "version": "TENSORRT_VERSION", "fault": "TENSORRT_FAULT",
    "fast": "TENSORRT_FAST",
}  # fmt: skip


@pytest.fixture(scope="session")
def pretended_gpu(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    if shutil.which(os.environ.get("CC", "cc")) is None:
        pytest.skip("no C compiler for the pretended driver: sudo apt-get install gcc")
    folder = tmp_path_factory.mktemp("pretended")
    subprocess.run(["bash", PRETENDED / "build.sh", folder], check=True)
    return {
        "LD_LIBRARY_PATH": str(folder),
        "PYTHONPATH": f"{PRETENDED}:{ROOT}",
        "XDG_CACHE_HOME": str(folder / "cache"),
        "PRETENDED_CUDA_DELAY_US": "50",
    }


Ran = tuple[subprocess.CompletedProcess[str], list[str]]


@pytest.fixture(scope="session")
def warm_gpu(pretended_gpu: dict[str, str]) -> Iterator[Warm]:
    one = Warm(EDGE, {**os.environ, **pretended_gpu})
    yield one
    one.close()


@pytest.fixture
def on_gpu(pretended_gpu: dict[str, str], warm_gpu: Warm, tmp_path: Path) -> Callable[..., Ran]:
    """Run words of the command line, or a script by its path; what it said, and the rules of CUDA that it broke."""

    def run(*words: str | Path, **settings: Any) -> Ran:
        file = tmp_path / "faults"
        file.unlink(missing_ok=True)
        asked = {f"PRETENDED_{SETTINGS[name]}": str(value) for name, value in settings.items()}
        asked["PRETENDED_CUDA_FAULTS"] = str(file)
        if str(words[0]).endswith(".py"):
            environment, command = {**os.environ, **pretended_gpu, **asked}, [sys.executable, *map(str, words)]
            done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment, cwd=ROOT)
        else:
            done = warm_gpu.run([str(word) for word in words], env=asked, cwd=ROOT)
        return done, file.read_text().splitlines() if file.exists() else []

    return run


@pytest.fixture(scope="session")
def compiled(make_grid_student: Callable[[], Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    from edge_lupi.compile.request import Request
    from edge_lupi.compile.student import compile_student
    from edge_lupi.models.files import save_student

    folder = tmp_path_factory.mktemp("gpu")
    save_student(folder / "two.pt", make_grid_student())
    compile_student(folder / "two.pt", folder / "two.lupi", Request("tensorrt"))
    return folder / "two.lupi"


@pytest.fixture
def gpu_bundle(compiled: Path, tmp_path: Path) -> Path:
    return shutil.copytree(compiled, tmp_path / "two.lupi")


@pytest.fixture(scope="session")
def built(compiled: Path, warm_gpu: Warm, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = shutil.copytree(compiled, tmp_path_factory.mktemp("built") / "two.lupi")
    done = warm_gpu.run(["compile", str(folder), "--target", "tensorrt", "--precision", "fp32"], cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def built_bundle(built: Path, tmp_path: Path) -> Path:
    return shutil.copytree(built, tmp_path / "two.lupi")
