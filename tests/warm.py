"""The command line in processes that need not import their libraries: `edge-lupi words...` as forks of one that has.

A third of a second of every process goes into importing NumPy and ONNX Runtime, and three into torch. `Warm` keeps one process
that has imported them, and nothing of edge_lupi; each run is a fork of it, with arguments, environment, folder and output of
its own. What is imported first, and when, is looked at by tests that start their own interpreter.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

# typer takes pydantic where it is
EDGE = ("numpy", "onnxruntime", "soundfile", "soxr", "typer.main", "pydantic.types", "rich.console")
WORKSTATION = (*EDGE, "torch", "onnx")
ENDED = "the process that runs edge-lupi ended"


class Warm:
    """`run` is `edge-lupi words...` in a fork of a process that has imported `modules`, under `environment`."""

    def __init__(self, modules: Sequence[str], environment: Mapping[str, str]) -> None:
        self._environment = {**environment, "ORT_DISABLE_TELEMETRY": "1"}
        self._modules = modules
        self._process: subprocess.Popen[bytes] | None = None

    def run(
        self,
        words: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        timeout: float = 120,
    ) -> subprocess.CompletedProcess[str]:
        """As subprocess.run with captured text; the same exceptions."""
        process = self._begun()
        assert process.stdin is not None
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            asked = {
                "words": list(words),
                "env": {**self._environment, **(env or {})},
                "cwd": str(cwd or Path.cwd()),
                "streams": [f"/proc/{os.getpid()}/fd/{stream.fileno()}" for stream in (out, err)],
            }
            process.stdin.write(json.dumps(asked).encode() + b"\n")
            process.stdin.flush()
            child = int(self._answer(process, 300))  # the first waits for the libraries
            try:
                code = int(self._answer(process, timeout))
            except TimeoutError:
                os.kill(child, signal.SIGKILL)
                self._answer(process, 60)
                raise subprocess.TimeoutExpired(list(words), timeout) from None
            said = [stream.seek(0) or stream.read().decode() for stream in (out, err)]
        return subprocess.CompletedProcess(list(words), code, *said)

    def close(self) -> None:
        if self._process:
            self._process.communicate(timeout=60)  # the end of its requests is its own
            self._process = None

    def _begun(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            command, root = [sys.executable, "-m", "tests.warm", *self._modules], Path(__file__).parents[1]
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=self._environment, cwd=root
            )
        return self._process

    @staticmethod
    def _answer(process: subprocess.Popen[bytes], seconds: float) -> bytes:
        """A line; unbuffered, so that `select` sees all there is."""
        assert process.stdout is not None
        line = b""
        while not line.endswith(b"\n"):
            if not select.select([process.stdout], [], [], seconds)[0]:
                raise TimeoutError
            more = os.read(process.stdout.fileno(), 1)
            if not more:
                raise RuntimeError(ENDED)
            line += more
        return line


def serve(modules: Sequence[str]) -> list[str] | None:
    """Fork for every request on standard input; gives a child its words, and the parent None at the end of requests."""
    for module in modules:
        with suppress(ImportError):
            import_module(module)
    requests, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb", 0)
    for line in iter(requests.readline, b""):
        asked = json.loads(line)
        child = os.fork()
        if not child:
            requests.close()
            answers.close()
            return _become(asked)
        answers.write(f"{child}\n".encode())
        _, status = os.waitpid(child, 0)
        answers.write(f"{os.waitstatus_to_exitcode(status)}\n".encode())
    return None


def _become(asked: Mapping[str, Any]) -> list[str]:
    """This process is now the one that was asked for."""
    streams = [os.open(path, os.O_WRONLY | os.O_APPEND) for path in asked["streams"]]
    for number, stream in enumerate([os.open(os.devnull, os.O_RDONLY), *streams]):
        os.dup2(stream, number)
        os.close(stream)
    os.environ.clear()
    os.environ.update(asked["env"])
    os.chdir(asked["cwd"])
    sys.stdin, sys.stdout = open(0, closefd=False), open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", buffering=1, errors="backslashreplace", closefd=False)  # noqa: SIM115
    words: list[str] = asked["words"]
    return words


if __name__ == "__main__":
    typed = serve(sys.argv[1:])
    if typed is not None:
        sys.argv, __package__ = ["edge-lupi", *typed], ""  # by which Click names the program
        from edge_lupi.cli import main

        main()
