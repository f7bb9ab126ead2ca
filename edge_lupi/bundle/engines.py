"""engines/ in a bundle: what TensorRT, or ONNX Runtime on a GPU, built, for which device. engines.json lists it; the manifest does not, as it comes later.

An engine belongs to one graph, one device and one TensorRT. Its name holds a hash of everything it depends on, so
another graph or device never finds it. Nothing here needs TensorRT or a GPU.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from edge_lupi.disk import TEMPORARY, clear_left_overs, read_bounded, read_checked, write_at_once, writing
from edge_lupi.disk import locked as held_folder
from edge_lupi.errors import BundleError, InputError
from edge_lupi.words import json_value

__all__ = [
    "ENCODER",
    "FOLDER",
    "Built",
    "Device",
    "EngineKey",
    "differences",
    "is_engine_file",
    "is_plain",
    "locked",
    "read_engine",
    "read_engines",
    "write_choice",
    "write_engine",
]

FOLDER = "engines"
ENCODER = "encoder"  # the graph that engines are built from; aggregators run on the CPU
LIST = "engines.json"
VERSION = 2
MAX_LIST_BYTES = 1 << 20
_NAME = re.compile(r"(encoder|aggregator\.[a-z][a-z0-9_-]{0,39})")
_PRECISION = re.compile(r"fp32|fp16|int8")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Device:
    """What an engine is bound to: the software that runs it, compute capability ("8.7") and GPU; all but the first empty without one.

    `tensorrt` is TensorRT's version alone, or begins with another's name: "RTX 0.5.0", "onnxruntime-cuda 1.32.0 and ...".
    A name is not enough: every Orin is called that, with 4 to 16 multiprocessors. `board` is the device tree's model.
    """

    tensorrt: str
    capability: str
    gpu: str
    multiprocessors: int = 0
    memory_gib: int = 0
    board: str = ""

    def __str__(self) -> str:
        gpu = f"SM {self.capability}" if self.capability else "no GPU"
        software = self.tensorrt if self.target.startswith("onnxruntime") else f"TensorRT {self.tensorrt or ''}"
        return f"{gpu} with {software if self.tensorrt else 'no TensorRT'}"

    @property
    def target(self) -> str:
        """What `compile --target` calls the software."""
        first = self.tensorrt.partition(" ")[0]
        return "tensorrt-rtx" if first == "RTX" else first if first.startswith("onnxruntime") else "tensorrt"

    @property
    def whole(self) -> str:
        """The GPU with all that tells it from others of its name."""
        size = f" ({self.multiprocessors} multiprocessors, {self.memory_gib} GiB)" if self.multiprocessors else ""
        return f"{self.gpu}{size}{f' of {self.board}' if self.board else ''}"


@dataclass(frozen=True)
class EngineKey:
    """Everything an engine depends on. `name` is encoder or aggregator.<task>; batches are 1 to `max_batch`."""

    name: str
    precision: str
    graph_sha256: str
    max_batch: int
    workspace_mib: int
    device: Device

    @property
    def file(self) -> str:
        """The engine's file name."""
        digest = hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()
        return f"{self.name}.{self.precision}.{digest[:16]}.plan"


@dataclass(frozen=True)
class Built:
    """An engine on disk. `chosen`: the gate measured it on its device and listening may use it."""

    key: EngineKey
    sha256: str
    bytes: int
    chosen: bool = False


def differences(built: EngineKey, wanted: EngineKey) -> str:
    """Why an engine does not fit, in one sentence without its end; empty where it does."""
    if built == wanted:
        return ""
    if built.device != wanted.device:
        here = wanted.device
        where = f"built for {built.device}; here {here}"
        if (built.device.capability, built.device.tensorrt) == (here.capability, here.tensorrt):
            where = f"built on {built.device.whole}; here {here.whole}"
        return where
    if built.graph_sha256 != wanted.graph_sha256:
        return "built from another graph"
    return (
        f"built for batches up to {built.max_batch} in {built.workspace_mib} MiB; "
        f"wanted {wanted.max_batch} in {wanted.workspace_mib} MiB"
    )


def read_engines(folder: Path) -> tuple[Built, ...]:
    """Every engine listed in `folder`; none where there is no list. Raises BundleError for a list that is not one."""
    file = folder / LIST
    try:
        if folder.is_symlink():
            raise ValueError("the folder is a link")
        if not os.path.lexists(file):
            return ()
        content = json_value(read_bounded(file, MAX_LIST_BYTES, "a list of engines", follow_links=False))
        if content["version"] != VERSION:
            raise ValueError(f"version {content['version']!r:.40}")
        return tuple(_built(entry) for entry in content["engines"])
    except (InputError, OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        reason = str(error).splitlines()[0][:160] if str(error) else type(error).__name__
        raise BundleError(
            f"{file} is not a list of engines ({reason}): remove the folder {folder} and build its engines anew"
        ) from error


def is_plain(file: Path) -> bool:
    """A file itself, not a link to one."""
    return stat.S_ISREG(file.lstat().st_mode)


def is_engine_file(file: Path) -> bool:
    """Whether what lies in such a folder is one of those that edge-lupi writes there."""
    return is_plain(file) and (file.name == LIST or file.suffix == ".plan" or file.name.startswith(TEMPORARY))


def read_engine(folder: Path, built: Built) -> bytes:
    """The engine's bytes. Raises BundleError where they are not those that were written."""
    return read_checked(folder, built.key.file, built.bytes, built.sha256)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the bundle around the folder (made if need be) against other processes that build engines or replace it."""
    with ExitStack() as held:
        try:
            held.enter_context(held_folder(folder.parent))
            folder.mkdir(exist_ok=True)
        except OSError as error:
            raise InputError(
                f"could not write in {folder} ({error.strerror}): copy the bundle to a folder of your own"
            ) from error
        yield


def write_engine(folder: Path, key: EngineKey, data: bytes) -> Built:
    """Add an engine; the older one of its name and precision on the same GPU goes. Call it while `locked`."""
    built = Built(key, hashlib.sha256(data).hexdigest(), len(data))
    others = [other for other in _still_known(folder) if _place(other) != _place(built)]
    with writing(folder / key.file, "free some space, or build where you may write"):
        write_at_once(folder / key.file, data)
        _write_list(folder, [*others, built])
        listed = {other.key.file for other in (*others, built)}
        for file in folder.glob("*.plan"):
            if file.name not in listed:
                file.unlink()
        for name in (LIST, *listed):
            clear_left_overs(folder / name)
    return built


def _still_known(folder: Path) -> tuple[Built, ...]:
    """The engines that are listed; of a list that is damaged, none: all are built anew."""
    try:
        return read_engines(folder)
    except BundleError:
        if folder.is_symlink():  # it may be anybody's
            raise
        return ()


def write_choice(folder: Path, device: Device, precision: str | None) -> None:
    """Mark the engines of one precision on one device as chosen, all others on its GPU as not. Call it while `locked`."""
    engines, gpu = read_engines(folder), replace(device, tensorrt="")
    _write_list(
        folder,
        [
            replace(b, chosen=b.key.device == device and b.key.precision == precision)
            if replace(b.key.device, tensorrt="") == gpu
            else b
            for b in engines
        ],
    )


def _place(built: Built) -> tuple[str, str, Device]:
    return built.key.name, built.key.precision, replace(built.key.device, tensorrt="")


def _write_list(folder: Path, engines: Sequence[Built]) -> None:
    content = {"version": VERSION, "engines": [_plain(built) for built in engines]}
    write_at_once(folder / LIST, (json.dumps(content, indent=2) + "\n").encode())


def _plain(built: Built) -> dict[str, Any]:
    own = {"file": built.key.file, "sha256": built.sha256, "bytes": built.bytes, "chosen": built.chosen}
    return {**asdict(built.key), **own}


def _built(entry: dict[str, Any]) -> Built:
    """Raises ValueError, KeyError or TypeError where the entry is not one that `_plain` wrote."""
    device = Device(**{name: _text_or_count(value) for name, value in entry["device"].items()})
    key = EngineKey(
        _text(entry["name"], _NAME),
        _text(entry["precision"], _PRECISION),
        _text(entry["graph_sha256"], _SHA256),
        _count(entry["max_batch"]),
        _count(entry["workspace_mib"]),
        device,
    )
    if entry["file"] != key.file:
        raise ValueError(f"its file should be {key.file}")
    return Built(key, _text(entry["sha256"], _SHA256), _count(entry["bytes"]), entry["chosen"] is True)


def _text(value: Any, pattern: re.Pattern[str] | None = None) -> str:
    if not isinstance(value, str) or len(value) > 256 or not value.isprintable():
        raise ValueError(f"expected a word, got {value!r:.80}")
    if pattern and not pattern.fullmatch(value):
        raise ValueError(f"unexpected {value!r:.80}")
    return value


def _text_or_count(value: Any) -> Any:
    return value if value == 0 and type(value) is int else _text(value) if isinstance(value, str) else _count(value)


def _count(value: Any) -> int:
    if type(value) is not int or not 1 <= value < 1 << 40:
        raise ValueError(f"expected a count, got {value!r:.80}")
    return value
