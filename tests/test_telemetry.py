"""Nothing is sent and nothing is left behind: verbs in a fresh home, their system calls watched where strace is there."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
TWO_VOICES = ROOT / "examples" / "two_voices.flac"
LOCAL = {"AF_UNIX", "AF_NETLINK", "AF_LOCAL", "AF_UNSPEC"}
VERBS: dict[str, tuple[str | Path, ...]] = {
    "listen": ("listen", "--input", TWO_VOICES, "--json"),
    "enroll": ("enroll", "ann", "--input", TWO_VOICES, "--force"),
    "bench": ("bench", "--seconds", "2"),
    "doctor": ("doctor",),
}


def _fresh(home: Path) -> dict[str, str]:
    """The environment of a user who has said nothing of telemetry."""
    home.mkdir()
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("XDG_", "ORT_"))}
    return {**kept, "HOME": str(home), "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def _files(home: Path) -> set[str]:
    return {str(path.relative_to(home)) for path in home.rglob("*") if path.is_file()}


def _watched(words: tuple[str | Path, ...], home: Path, log: Path) -> list[str]:
    """Run a verb; gives the lines of strace that speak of a socket which is not of this machine alone."""
    command = [sys.executable, "-m", "edge_lupi.cli", *map(str, words)]
    if shutil.which("strace"):
        command = ["strace", "-f", "-o", str(log), "-e", "trace=network", *command]
    done = subprocess.run(command, env=_fresh(home), capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    lines = log.read_text(errors="replace").splitlines() if log.exists() else []
    return [line for line in lines if set(re.findall(r"AF_[A-Z0-9]+", line)) - LOCAL]


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_sends_nothing_and_leaves_nothing(verb: str, tmp_path: Path) -> None:
    assert _watched(VERBS[verb], tmp_path / "home", tmp_path / "log") == []
    ours = {".local/share/edge-lupi/speakers.json"} if verb == "enroll" else set()
    assert {name for name in _files(tmp_path / "home") if not name.startswith(".config/pulse/")} == ours


def test_compile_sends_nothing_and_leaves_nothing(mood_chain: object, tmp_path: Path) -> None:
    words = ("compile", mood_chain.folder / "student.int8.pt", "--out", tmp_path / "out.lupi")  # type: ignore[attr-defined]
    assert _watched(words, tmp_path / "home", tmp_path / "log") == []
    assert not {name for name in _files(tmp_path / "home") if "onnxruntime" in name.lower()}


def test_whatever_is_imported_of_the_package_first(tmp_path: Path) -> None:
    code = "import edge_lupi.runtime.engines.onnx_runtime, os\nprint(os.environ['ORT_DISABLE_TELEMETRY'])"
    asked = {**_fresh(tmp_path / "home"), "ORT_DISABLE_TELEMETRY": "0"}
    done = subprocess.run([sys.executable, "-c", code], env=asked, capture_output=True, text=True, check=True)
    assert done.stdout == "1\n"
    assert _files(tmp_path / "home") == set()


def test_a_program_that_imported_the_runtime_first_is_told(tmp_path: Path) -> None:
    code = "import onnxruntime\nimport edge_lupi"
    environment = _fresh(tmp_path / "home")
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert "RuntimeWarning: onnxruntime was imported before edge_lupi" in done.stderr
    asked = {**environment, "ORT_DISABLE_TELEMETRY": "1"}
    assert subprocess.run([sys.executable, "-c", code], env=asked, capture_output=True, text=True).stderr == ""


def test_the_service_says_so_too() -> None:
    assert "ORT_DISABLE_TELEMETRY=1" in (ROOT / "runtime" / "edge-lupi.service").read_text()
