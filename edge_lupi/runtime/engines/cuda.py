"""CUDA, the little of it that an engine needs, by ctypes on the driver's own library: nothing to install, no version to match.

gpu = find_gpu()             None where there is no driver, no GPU, or none that can be used: why_no_gpu() says what to do
buffer = Buffer(gpu, shape)  float32 on the GPU, and pinned beside it for the CPU

A Gpu and its buffers may be used, and let go, by any thread; `choose_gpu` takes another than the first.
"""

from __future__ import annotations

import ctypes
import math
import os
import weakref
from contextlib import suppress
from ctypes import byref, c_char_p, c_int, c_size_t, c_uint64, c_void_p
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_lupi.bundle.engines import Device
from edge_lupi.errors import DeviceError

__all__ = ["Buffer", "Gpu", "choose_gpu", "cuda_of_driver", "device_of", "find_gpu", "why_no_gpu"]

LIBRARY = "libcuda.so.1"
BOARD = Path("/proc/device-tree/model")  # of boards such as a Jetson
CAPABILITY_MAJOR, CAPABILITY_MINOR, MULTIPROCESSORS = 75, 76, 16  # CUdevice_attribute
FLOAT_BYTES = 4
OUT_OF_MEMORY, NO_DEVICE = 2, 100
NODES = ("nvidiactl", "nvidia0", "nvmap", "nvhost-gpu", "nvgpu/igpu0/ctrl")  # of desktops, JetPack 5, JetPack 6
WHAT_TO_DO = {
    OUT_OF_MEMORY: "close what else uses the GPU, or listen on the CPU",
    34: "the library is CUDA's stub: remove its folder from LD_LIBRARY_PATH",
    802: "the GPU is not ready: start nvidia-fabricmanager",
    803: "the driver's parts are of different versions: restart this machine, or install the NVIDIA driver anew",
    804: "CUDA's compatibility package does not suit this GPU: remove it from LD_LIBRARY_PATH",
}
AFTERWARDS = "start this program anew and, if that does not help, this machine"
OTHERWISE = "restart this machine, or install the NVIDIA driver anew"


class Gpu:
    """A GPU, with one stream. `capability` is e.g. "8.7"; multiprocessors and memory tell apart what bears one name."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self._library = library
        device, context, stream, memory = c_int(), c_void_p(), c_void_p(), c_size_t()
        self._call("cuDeviceGet", byref(device), c_int(0))
        name = ctypes.create_string_buffer(256)
        self._call("cuDeviceGetName", name, c_int(len(name)), device)
        self.name = name.value.decode(errors="replace")
        self.capability = ".".join(str(self._attribute(n, device)) for n in (CAPABILITY_MAJOR, CAPABILITY_MINOR))
        self.multiprocessors = self._attribute(MULTIPROCESSORS, device)
        self._call("cuDeviceTotalMem_v2", byref(memory), device)
        self.memory_bytes = memory.value
        self._call("cuDevicePrimaryCtxRetain", byref(context), device)  # the one TensorRT works in
        self._context = context
        self.use()
        self._call("cuStreamCreate", byref(stream), ctypes.c_uint(1))  # 1: does not wait for the default stream
        self.stream = int(stream.value or 0)

    def use(self) -> None:
        """Make this GPU the calling thread's."""
        self._call("cuCtxSetCurrent", self._context)

    def allocate(self, size: int) -> int:
        """Address of so many bytes on the GPU."""
        address = c_uint64()
        self._call("cuMemAlloc_v2", byref(address), c_size_t(size))
        return int(address.value)

    def allocate_pinned(self, size: int) -> int:
        """Address of so many bytes on the CPU that the GPU copies from and to without waiting."""
        address = c_void_p()
        self._call("cuMemHostAlloc", byref(address), c_size_t(size), ctypes.c_uint(0))
        return int(address.value or 0)

    def free(self, address: int, pinned: int) -> None:
        """Give both kinds of memory back, from any thread; what a GPU that has failed does not take back, the driver will."""
        for name, memory in (("cuMemFree_v2", c_uint64(address)), ("cuMemFreeHost", c_void_p(pinned))):
            with suppress(DeviceError):
                self.use()
                if memory.value:
                    self._call(name, memory)

    def upload(self, address: int, pinned: int, size: int) -> None:
        """Copy to the GPU, in the stream's order."""
        self._call("cuMemcpyHtoDAsync_v2", c_uint64(address), c_void_p(pinned), c_size_t(size), c_void_p(self.stream))

    def download(self, pinned: int, address: int, size: int) -> None:
        """Copy from the GPU, in the stream's order."""
        self._call("cuMemcpyDtoHAsync_v2", c_void_p(pinned), c_uint64(address), c_size_t(size), c_void_p(self.stream))

    def wait(self) -> None:
        """Until everything in the stream is done."""
        self._call("cuStreamSynchronize", c_void_p(self.stream))

    def _attribute(self, number: int, device: c_int) -> int:
        value = c_int()
        self._call("cuDeviceGetAttribute", byref(value), c_int(number), device)
        return int(value.value)

    def _call(self, name: str, *arguments: object) -> None:
        code = getattr(self._library, name)(*arguments)
        if code:
            advice = WHAT_TO_DO.get(code, AFTERWARDS)
            raise DeviceError(f"the GPU refused {name} ({_said(self._library, code)}): {advice}")


class Buffer:
    """float32 of at most `shape` on the GPU (`address`), with pinned memory beside it that `array` shows."""

    def __init__(self, gpu: Gpu, shape: tuple[int, ...]) -> None:
        self._gpu = gpu
        self.shape = shape
        size = math.prod(shape) * FLOAT_BYTES
        self.address, self._pinned = gpu.allocate(size), 0
        try:
            self._pinned = gpu.allocate_pinned(size)
        except DeviceError:
            gpu.free(self.address, 0)
            raise
        memory = (ctypes.c_float * math.prod(shape)).from_address(self._pinned)
        self.array: NDArray[np.float32] = np.ctypeslib.as_array(memory).reshape(shape)
        self.close = weakref.finalize(self, gpu.free, self.address, self._pinned)  # memory back; `array` is gone then
        self.close.atexit = False  # at the end of the process the driver does it

    def upload(self, values: NDArray[np.float32]) -> None:
        """Send values [B, ...] of at most the buffer's shape to the GPU."""
        np.copyto(self.array[: len(values)], values)
        self._gpu.upload(self.address, self._pinned, values.size * FLOAT_BYTES)

    def download(self, batch: int) -> None:
        """Ask for the first `batch` rows; they are in `array` after `gpu.wait()`."""
        self._gpu.download(self._pinned, self.address, self.array[:batch].size * FLOAT_BYTES)


def choose_gpu(number: int) -> None:
    """Take this GPU, as nvidia-smi numbers them, for everything in this process. Before anything looks for one."""
    os.environ["CUDA_DEVICE_ORDER"], os.environ["CUDA_VISIBLE_DEVICES"] = "PCI_BUS_ID", str(number)


def find_gpu() -> Gpu | None:
    """The GPU; None where there is no driver, no GPU, or none that can be used."""
    found = _look()
    return found if isinstance(found, Gpu) else None


def why_no_gpu() -> str:
    """Why a GPU that seems to be here cannot be used, and what to do; empty where there is none, or where it can."""
    found = _look()
    return found if isinstance(found, str) else ""


def device_of(software: str, gpu: Gpu | None) -> Device:
    """What an engine is bound to that this software builds here."""
    if gpu is None:
        return Device(software, "", "")
    board = ""
    with suppress(OSError):
        board = BOARD.read_text(errors="replace").strip("\0\n ")[:100]
    return Device(software, gpu.capability, gpu.name, gpu.multiprocessors, round(gpu.memory_bytes / 2**30), board)


def cuda_of_driver() -> tuple[int, int]:
    """The newest CUDA that the driver knows, e.g. (12, 6); (0, 0) where there is none."""
    number = c_int()
    try:
        ctypes.CDLL(LIBRARY).cuDriverGetVersion(byref(number))
    except (OSError, AttributeError):
        return 0, 0
    return number.value // 1000, number.value % 1000 // 10


@cache
def _look() -> Gpu | str:
    try:
        library = ctypes.CDLL(LIBRARY)
    except OSError:
        return ""
    count = c_int()
    try:
        code = library.cuInit(ctypes.c_uint(0)) or library.cuDeviceGetCount(byref(count))
        if not code and count.value:
            return Gpu(library)
    except (AttributeError, DeviceError) as error:  # another library of that name; memory full, or too old a driver
        return f"{error}"
    return _reason(library, code or NO_DEVICE)


def _reason(library: ctypes.CDLL, code: int) -> str:
    closed = _closed_nodes()
    if closed:
        return (
            f"this user may not use the GPU ({', '.join(closed)}; {_said(library, code)}): "
            "sudo usermod -aG video,render USER, then log in anew; a service needs SupplementaryGroups=video render"
        )
    if code != NO_DEVICE:
        return f"the GPU cannot be used ({_said(library, code)}): {WHAT_TO_DO.get(code, OTHERWISE)}"
    wanted = os.environ.get("CUDA_VISIBLE_DEVICES")
    return f"there is no GPU {wanted}: nvidia-smi -L lists them" if wanted else ""


def _closed_nodes(devices: Path = Path("/dev")) -> list[str]:
    """The driver's device nodes that exist and that this user may not open."""
    nodes = [str(devices / name) for name in NODES]
    return [node for node in nodes if os.path.lexists(node) and not os.access(node, os.R_OK | os.W_OK)]


def _said(library: ctypes.CDLL, code: int) -> str:
    """The driver's own words for a code, and the code."""
    text = c_char_p()
    with suppress(AttributeError):
        library.cuGetErrorString(c_int(code), byref(text))
    return f"{text.value.decode(errors='replace')}, {code}" if text.value else f"error {code}"
