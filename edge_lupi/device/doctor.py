"""Self-test of a machine for listening and compiling: one Finding a part, with what to do where something is amiss.

Nothing is changed or fetched, and neither torch nor anything of training is imported: their versions are read from what
the installer wrote. A part that cannot be looked at is a finding, too. Libraries are imported where they are looked at,
as one that is broken must not keep the doctor from the others.
"""

from __future__ import annotations

import platform
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from edge_lupi import __version__
from edge_lupi.device.state import governor, power_mode, read_file, temperatures
from edge_lupi.errors import EdgeLupiError
from edge_lupi.installed import install_command

__all__ = ["Finding", "examine"]

OLDEST_PYTHON = (3, 10)
HOT_CELSIUS = 85.0  # Orin slows down from about 95, most others a little later
TRAINING = ("torch", "onnx", "nvidia-modelopt", "lightning-fabric", "av", "webdataset")
FIRST_L4T = (36, 4)  # JetPack 6.1, the first with TensorRT 10.3
TENSORRT = ("tensorrt", "tensorrt-cu13", "tensorrt-cu12")
RTX = "onnxruntime-ep-nv-tensorrt-rtx-cu13"
ONNX_GPU = "onnxruntime-gpu"
NEEDED = ("ONNX Runtime", "speaker", "emotion", "microphones")


@dataclass(frozen=True)
class Finding:
    """One part: `status` is ok, warn or missing; `said` what it is, and where it is not ok what to do.

    `needed`: where it is missing, listening does not work.
    """

    part: str
    status: str
    said: str
    needed: bool = False

    @property
    def is_fatal(self) -> bool:
        """Whether listening does not work for want of it."""
        return self.needed and self.status == "missing"

    def plain(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self)

    def text(self) -> str:
        """For people."""
        return f"{self.status:<8}{self.part:<14}{self.said}"


def examine(root: Path = Path("/")) -> Iterator[Finding]:
    """Look at every part; `root` is where the system's files are."""
    looks: dict[str, Callable[[], Finding]] = {
        "Python": _python,
        "edge-lupi": lambda: Finding("edge-lupi", "ok", __version__),
        "ONNX Runtime": _onnxruntime,
        "processor": _processor,
        "speaker": lambda: _bundle("speaker"),
        "emotion": lambda: _bundle("emotion"),
        "microphones": _microphones,
        "temperature": lambda: _temperature(root / "sys"),
        "clock": lambda: _clock(root / "sys"),
        "Jetson": lambda: _jetson(root / "etc" / "nv_tegra_release"),
        "GPU": lambda: _gpu(root / "proc" / "driver" / "nvidia" / "version"),
        "TensorRT": _tensorrt,
        "TensorRT-RTX": _rtx,
        "ONNX on a GPU": _onnx_gpu,
        "training": _training,
        "faces": _faces,
    }
    return (_seen(part, look) for part, look in looks.items())


def _seen(part: str, look: Callable[[], Finding]) -> Finding:
    try:
        return look()
    except Exception as error:  # whatever a broken library raises when it is looked at
        needed = part in NEEDED
        return Finding(part, "missing" if needed else "warn", f"cannot be looked at ({_one_line(error)})", needed)


def _python() -> Finding:
    said = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    if sys.version_info < OLDEST_PYTHON:
        return Finding("Python", "missing", f"{said}: install Python 3.10 or newer", needed=True)
    return Finding("Python", "ok", said)


def _onnxruntime() -> Finding:
    try:
        import onnxruntime
    except ImportError as error:
        said = f"cannot be imported ({_one_line(error)}): pip install --force-reinstall onnxruntime"
        return Finding("ONNX Runtime", "missing", said, needed=True)
    providers = ", ".join(name.removesuffix("ExecutionProvider") for name in onnxruntime.get_available_providers())
    return Finding("ONNX Runtime", "ok", f"{onnxruntime.__version__}, providers {providers}")


def _processor() -> Finding:
    from edge_lupi.device.processor import environment

    machine = environment()
    said = f"{machine['cpu']}, {machine['cores']} cores"
    if any(name in machine["cpu"] for name in ("vnni", "asimddp", "i8mm")):
        return Finding("processor", "ok", f"{said}: int8 pays")
    return Finding(
        "processor", "ok", f"{said}: without 8-bit dot products int8 gains less; edge-lupi bench measures it"
    )


def _bundle(task: str) -> Finding:
    """The shipped bundle: its hashes, and what it makes of its golden sound."""
    from edge_lupi.bundle.bundle import Bundle, shipped_bundle
    from edge_lupi.runtime.compiled_student import CompiledStudent

    try:
        student = CompiledStudent(Bundle.load(shipped_bundle(task)), task)
    except EdgeLupiError as error:
        return Finding(task, "missing", f"{error}; or reinstall edge-lupi", needed=True)
    return Finding(task, "ok", f"the shipped student gives its golden embeddings on the {student.runs_on}")


def _microphones() -> Finding:
    from edge_lupi.runtime.sources.microphone import input_devices

    try:
        devices = input_devices()
    except EdgeLupiError as error:
        return Finding("microphones", "missing", str(error), needed=True)
    except ImportError as error:
        said = f"{_one_line(error)}: pip install --force-reinstall sounddevice"
        return Finding("microphones", "missing", said, needed=True)
    if not devices:
        said = "PortAudio works and sees none: plug one in, or edge-lupi listen --input FILE hears a file"
        return Finding("microphones", "warn", said)
    names = ", ".join(f"{device['name']}{' (default)' if device['default'] else ''}" for device in devices)
    if not any(device["default"] for device in devices):
        return Finding("microphones", "warn", f"{names}; none is the default: edge-lupi listen --device NAME hears one")
    return Finding("microphones", "ok", names)


def _temperature(system: Path) -> Finding:
    zones = temperatures(system)
    slowed = sum(
        int(read_file(file)) for file in system.glob("devices/system/cpu/cpu*/thermal_throttle/package_throttle_count")
    )
    if not zones:
        return Finding("temperature", "ok", "this machine does not tell")
    hottest = max(zones, key=zones.__getitem__)
    said = f"{zones[hottest]:.0f} °C at the hottest ({hottest})"
    if zones[hottest] >= HOT_CELSIUS:
        return Finding("temperature", "warn", f"{said}: it will slow down; give it air or a lower power mode")
    if slowed:
        return Finding("temperature", "warn", f"{said}; slowed down for heat {slowed} times since it started: more air")
    return Finding("temperature", "ok", said)


def _clock(system: Path) -> Finding:
    name = governor(system)
    if name is None:
        return Finding("clock", "ok", "this machine does not tell")
    if name == "powersave":
        said = "governor powersave: latencies vary; cpupower frequency-set -g performance (jetson_clocks on a Jetson)"
        return Finding("clock", "warn", said)
    if name == "schedutil":
        said = "governor schedutil: the clock follows the load; for steady latencies jetson_clocks, or governor performance"
        return Finding("clock", "ok", said)
    return Finding("clock", "ok", f"governor {name}")


def _jetson(release: Path) -> Finding:
    """L4T's release as NVIDIA writes it: `# R36 (release), REVISION: 4.3, ...`; 36.2 and 36.3 are JetPack 6.0."""
    text = _read_if_there(release)
    if text is None:
        return Finding("Jetson", "ok", "this is none")
    match = re.search(r"R(\d+) .*REVISION: ([\d.]+)", text)
    if match is None:
        return Finding("Jetson", "warn", f"{release} is not as NVIDIA writes it: TensorRT below says what is installed")
    said = f"L4T {match[1]}.{match[2]}, {power_mode()}"
    if (int(match[1]), int(match[2].partition(".")[0])) < FIRST_L4T:
        older = "is JetPack 6.0, whose TensorRT 8.6" if match[1] == "36" else "has a TensorRT that"
        return Finding("Jetson", "warn", f"{said}: {older} lacks strongly typed networks; engines need JetPack 6.1")
    return Finding("Jetson", "ok", said)


def _gpu(driver: Path) -> Finding:
    from edge_lupi.runtime.engines.cuda import cuda_of_driver, find_gpu, why_no_gpu

    gpu = find_gpu()
    kernel = re.search(r"Kernel Module\D.*?(\d+\.[\d.]+)", _read_if_there(driver) or "")
    if gpu is not None:
        release = f", driver {kernel[1]}" if kernel else ""
        cuda = ".".join(map(str, cuda_of_driver()))
        return Finding("GPU", "ok", f"{gpu.name}, compute capability {gpu.capability}{release}, CUDA {cuda}")
    if said := why_no_gpu():
        return Finding("GPU", "warn", said)
    if kernel:
        return Finding("GPU", "warn", f"driver {kernel[1]} is loaded and no GPU can be used: is it given to this user?")
    return Finding("GPU", "ok", "none: edge-lupi runs on the CPU")


def _tensorrt() -> Finding:
    """Imported, as its bindings may be there without its libraries."""
    from edge_lupi.runtime.engines.cuda import cuda_of_driver, find_gpu
    from edge_lupi.runtime.engines.tensorrt import import_tensorrt, why_not

    try:
        module = import_tensorrt("with a GPU")
    except EdgeLupiError as error:
        installed = next(filter(None, map(_version, TENSORRT)), None)
        if installed:
            said = f"{installed} is installed and cannot be imported: reinstall it"
            return Finding("TensorRT", "warn", said)
        if find_gpu() is None:
            return Finding("TensorRT", "ok", "not installed, and not needed without an NVIDIA GPU")
        return Finding("TensorRT", "missing", str(error))
    if said := why_not(module, cuda_of_driver() if find_gpu() else None):
        return Finding("TensorRT", "warn", said)
    return Finding("TensorRT", "ok", str(module.__version__))


def _rtx() -> Finding:
    """By its metadata alone: the plugin's libraries are large."""
    plugin = _version(RTX)
    return Finding(
        "TensorRT-RTX", "ok", f"plugin {plugin}" if plugin else "not installed; for GeForce RTX and RTX PRO only"
    )


def _onnx_gpu() -> Finding:
    """The providers for a GPU that ONNX Runtime was built with; whether they start shows when an engine is built."""
    import onnxruntime

    from edge_lupi.runtime.engines.onnx_gpu import CUDA, INSTALL, TENSORRT

    there = [name for name in (TENSORRT, CUDA) if name in onnxruntime.get_available_providers()]
    if there:
        names = " and ".join(name.removesuffix("ExecutionProvider") for name in there)
        return Finding("ONNX on a GPU", "ok", f"providers {names}: edge-lupi compile --target onnxruntime-cuda tries")
    if _version(ONNX_GPU):
        said = f"{ONNX_GPU} is installed and hidden by onnxruntime: pip uninstall {ONNX_GPU} and then {INSTALL}"
        return Finding("ONNX on a GPU", "warn", said)
    return Finding(
        "ONNX on a GPU", "ok", f"no such provider, and none needed without an NVIDIA GPU; with one, {INSTALL}"
    )


def _training() -> Finding:
    versions = {name: _version(name) for name in TRAINING}
    absent = [name for name, number in versions.items() if number is None]
    if not absent:
        return Finding("training", "ok", ", ".join(f"{name} {number}" for name, number in versions.items()))
    said = f"without {', '.join(absent)}: not needed to listen; to train (5.3 GB), {install_command('train')}"
    return Finding("training", "missing", said)


def _faces() -> Finding:
    """What a teacher needs to look at faces, by mediapipe's metadata alone."""
    from edge_lupi.data.faces import FACE_MODEL, MODEL_PAGE, face_model, refuse_reporting
    from edge_lupi.disk import kind_of

    installed = _version("mediapipe")
    if installed is None:
        said = f"not installed, and not needed to listen; for teachers that look at faces, {install_command('video')}"
        return Finding("faces", "ok", said)
    try:
        refuse_reporting(installed)
        model = face_model("")
    except EdgeLupiError as error:
        return Finding("faces", "warn", f"mediapipe {installed}; {error}")
    if kind_of(model) != "file":
        said = f"mediapipe {installed}; {FACE_MODEL} names no file ({model}): fetch one from {MODEL_PAGE}"
        return Finding("faces", "warn", said)
    return Finding("faces", "ok", f"mediapipe {installed}, {model}")


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _read_if_there(file: Path) -> str | None:
    try:
        return read_file(file)
    except (FileNotFoundError, NotADirectoryError):
        return None


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
