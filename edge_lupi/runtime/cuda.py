"""The little of CUDA that running an engine needs, by ctypes on the driver's own library: nothing to install, no version to match.

gpu = find_gpu()             None where there is no driver or no GPU
buffer = Buffer(gpu, shape)  float32 on the GPU, and pinned beside it for the CPU
"""

from __future__ import annotations

import ctypes
import math
import weakref
from ctypes import byref, c_char_p, c_int, c_size_t, c_uint64, c_void_p
from functools import cache

import numpy as np
from numpy.typing import NDArray

from edge_lupi.errors import DeviceError

__all__ = ["Buffer", "Gpu", "find_gpu"]

LIBRARY = "libcuda.so.1"
CAPABILITY_MAJOR, CAPABILITY_MINOR = 75, 76  # CUdevice_attribute
FLOAT_BYTES = 4


class Gpu:
    """The first GPU, with one stream. `capability` is e.g. "8.7"."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self._library = library
        device, context, stream = c_int(), c_void_p(), c_void_p()
        self._call("cuDeviceGet", byref(device), c_int(0))
        name = ctypes.create_string_buffer(256)
        self._call("cuDeviceGetName", name, c_int(len(name)), device)
        self.name = name.value.decode(errors="replace")
        self.capability = ".".join(str(self._attribute(n, device)) for n in (CAPABILITY_MAJOR, CAPABILITY_MINOR))
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
        """Give both kinds of memory back."""
        self._call("cuMemFree_v2", c_uint64(address))
        self._call("cuMemFreeHost", c_void_p(pinned))

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
            text = c_char_p()
            self._library.cuGetErrorString(c_int(code), byref(text))
            said = text.value.decode(errors="replace") if text.value else f"error {code}"
            raise DeviceError(f"the GPU refused {name} ({said}): close what else uses it, or listen on the CPU")


class Buffer:
    """float32 of at most `shape` on the GPU (`address`), with pinned memory beside it that `array` shows."""

    def __init__(self, gpu: Gpu, shape: tuple[int, ...]) -> None:
        self._gpu = gpu
        self.shape = shape
        size = math.prod(shape) * FLOAT_BYTES
        self.address, self._pinned = gpu.allocate(size), gpu.allocate_pinned(size)
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


@cache
def find_gpu() -> Gpu | None:
    """The first GPU; None where there is no driver or no GPU."""
    try:
        library = ctypes.CDLL(LIBRARY)
    except OSError:
        return None
    count = c_int()
    if library.cuInit(ctypes.c_uint(0)) or library.cuDeviceGetCount(byref(count)) or not count.value:
        return None
    return Gpu(library)
