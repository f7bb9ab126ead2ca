"""What torch.save wrote, opened only where it is plain tensors, numbers and words. bytes -> content, never more than the bytes.

torch.load(weights_only=True) runs no code of a stranger's, but fills memory: zips may be packed, one number may be expanded
to any shape, and a bytearray of any length may be asked for. So the zip, the pickle and the tensors are looked at as well.
"""

from __future__ import annotations

import io
import pickletools
import re
import warnings
import zipfile
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

__all__ = ["plain_tensors"]

MAX_MEMBERS = 10_000
MAX_PICKLE_BYTES = 1 << 22  # ours have ten thousand bytes, and the names of those who were heard
MAX_DEPTH = 50
_KNOWN = re.compile(r"torch \w+Storage|torch\._utils _rebuild_tensor_v2|collections OrderedDict")


def plain_tensors(data: bytes) -> Any:
    """The content. Raises ValueError for what torch.save does not write of plain tensors, else whatever damage provokes."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = archive.infolist()
        if len(members) > MAX_MEMBERS or any(member.file_size != member.compress_size for member in members):
            raise ValueError("packed, which torch.save never does")
        if sum(member.file_size for member in members) > len(data):
            raise ValueError("files that share their bytes")
        _check_pickle([archive.read(member) for member in members if member.filename.endswith("data.pkl")])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch comments on old pickles; the sentence of the caller says enough
        content = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    tensors: dict[int, Tensor] = {}
    _gather(content, tensors, set(), MAX_DEPTH)
    storages = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in tensors.values()}
    if sum(storages.values()) > len(data):
        raise ValueError("tensors of more bytes than the file has")
    return content


def _check_pickle(pickles: list[bytes]) -> None:
    if len(pickles) != 1 or len(pickles[0]) > MAX_PICKLE_BYTES:
        raise ValueError(f"expected one pickle of at most {MAX_PICKLE_BYTES} bytes")
    for opcode, word, _ in pickletools.genops(pickles[0]):
        if opcode.name in ("STACK_GLOBAL", "INST", "EXT1", "EXT2", "EXT4"):
            raise ValueError(f"a pickle with {opcode.name}")
        if opcode.name == "GLOBAL" and not _KNOWN.fullmatch(str(word)):
            raise ValueError("a pickle of more than plain tensors")


def _gather(content: Any, tensors: dict[int, Tensor], seen: set[int], depth: int) -> None:
    """Every tensor by its id; raises ValueError for one that has more numbers than are stored for it."""
    if depth == 0:
        raise ValueError("nested too deeply")
    if id(content) in seen:
        return
    if isinstance(content, Tensor):
        stored = content.untyped_storage().nbytes() if content.layout == torch.strided else -1
        if content.numel() * content.element_size() > stored:
            raise ValueError("a tensor of more numbers than are stored")
        tensors[id(content)] = content
    elif isinstance(content, (Mapping, list, tuple, set)):
        seen.add(id(content))
        for value in content.values() if isinstance(content, Mapping) else content:
            _gather(value, tensors, seen, depth - 1)
