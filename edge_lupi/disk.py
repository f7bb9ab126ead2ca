"""Files that others read and write too: read only if they are what was promised, written at once or not at all."""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from pathlib import Path
from typing import Any

from edge_lupi.errors import BundleError

__all__ = ["MAX_FILE_BYTES", "read_checked", "write_at_once"]

MAX_FILE_BYTES = 1 << 29
_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def read_checked(folder: Path, name: str, expected_bytes: Any, expected_sha256: Any) -> bytes:
    """The bytes of a plain file in `folder`. Raises BundleError where they are not those that were promised."""
    if not _FILE_NAME.fullmatch(name):
        raise BundleError(f"{folder} lists a file that a bundle must not have ({name!r}): do not use this bundle")
    file = folder / name
    try:
        size = file.stat().st_size
        if file.is_symlink() or not file.is_file() or size != expected_bytes or size > MAX_FILE_BYTES:
            raise BundleError(
                f"expected {expected_bytes} bytes in {file}, got {size}: the bundle is damaged; copy or compile it anew"
            )
        data = file.read_bytes()
    except OSError as error:
        raise BundleError(
            f"{file} is listed and cannot be read ({error.strerror}): copy or compile the bundle anew"
        ) from error
    if hashlib.sha256(data).hexdigest() != expected_sha256:
        raise BundleError(f"{file} does not match its sha256: the bundle is damaged; copy or compile it anew")
    return data


def write_at_once(path: Path, data: bytes) -> None:
    """Write to a temporary file beside the target, then rename. Raises OSError, and then the target is as it was."""
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except OSError:
        Path(temporary).unlink(missing_ok=True)
        raise
