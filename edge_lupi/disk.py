"""Files and folders that others read and write too: read only if they are what was promised, written at once or not at all.

A folder is put in place by exchanging two names in one step (renameat2, Linux 3.15): whoever opens it, or ends the
writer whenever he likes, finds all of the old one or all of the other.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from edge_lupi.errors import BundleError

__all__ = ["MAX_FILE_BYTES", "identity", "locked", "read_checked", "write_at_once", "write_folder"]

MAX_FILE_BYTES = 1 << 29
_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
AT_FDCWD, RENAME_EXCHANGE = -100, 2  # linux/fcntl.h, linux/fs.h
NOT_HERE = (errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP)  # an older kernel, or a file system that cannot


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


def write_at_once(path: Path, data: bytes, mode: int = 0o644) -> None:
    """Write to a temporary file beside the target, then rename. Raises OSError, and then the target is as it was."""
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, mode)
        os.replace(temporary, path)
    except OSError:
        Path(temporary).unlink(missing_ok=True)
        raise


def write_folder(path: Path, files: Mapping[str, bytes]) -> None:
    """Write a folder of these files in place of the one that may be there. Raises OSError, and then that is as it was.

    What processes that were killed while they wrote it have left beside it is cleared away.
    """
    target = path.resolve()
    with _folder_of_ours(target) as temporary:
        for name, data in files.items():
            with (temporary / name).open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        temporary.chmod(0o755)
        _put(temporary, target)
    _clear_left_overs(target)


def identity(folder: Path) -> tuple[int, int, int] | None:
    """Changes when another folder takes the name; None where there is none."""
    try:
        found = folder.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_ctime_ns


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the folder of this name against other processes. It is this name's until the end: `write_folder` waits, too."""
    handle = _lock(folder)
    try:
        yield
    finally:
        os.close(handle)


def _lock(folder: Path) -> int:
    """A handle that holds the folder until it is closed. The system closes those of a process that is killed."""
    while True:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            with suppress(OSError):  # a file system without locks, as some network ones are
                fcntl.flock(handle, fcntl.LOCK_EX)
            if os.path.samestat(os.stat(folder), os.fstat(handle)):
                return handle
        except OSError:
            os.close(handle)
            raise
        os.close(handle)  # another took its place while we waited


@contextmanager
def _folder_of_ours(target: Path) -> Iterator[Path]:
    """A temporary folder beside the target, locked so that others see that its writer lives."""
    while True:
        temporary = Path(tempfile.mkdtemp(prefix=_prefix(target), dir=target.parent))
        try:
            handle = _lock(temporary)
            break
        except FileNotFoundError:  # taken for a left-over before it was locked
            continue
    try:
        yield temporary
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        os.close(handle)


def _clear_left_overs(target: Path) -> None:
    for left in [file for file in target.parent.iterdir() if file.name.startswith(_prefix(target))]:
        with suppress(OSError):
            handle = os.open(left, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)  # fails where its writer lives
                shutil.rmtree(left, ignore_errors=True)
            finally:
                os.close(handle)


def _prefix(target: Path) -> str:
    return f".{target.name}.writing-"


def _put(folder: Path, target: Path) -> None:
    """Give `folder` the target's name; what had it, if any, is then called `folder`."""
    while True:
        try:
            with locked(target):
                _exchange(folder, target)
            return
        except FileNotFoundError:
            pass
        try:
            os.rename(folder, target)
            return
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):  # those: somebody was faster
                raise


def _exchange(a: Path, b: Path) -> None:
    """Two names change places in one step; where the system cannot, in three, between which `b` is absent for a moment."""
    try:
        rename = ctypes.CDLL(None, use_errno=True).renameat2  # glibc 2.28
    except AttributeError:
        code = errno.ENOSYS
    else:
        done = rename(AT_FDCWD, os.fsencode(a), AT_FDCWD, os.fsencode(b), ctypes.c_uint(RENAME_EXCHANGE))
        code = ctypes.get_errno() if done else 0
    if code in NOT_HERE:
        _exchange_in_steps(a, b)
    elif code:
        raise OSError(code, os.strerror(code), str(a), None, str(b))


def _exchange_in_steps(a: Path, b: Path) -> None:
    aside = Path(tempfile.mkdtemp(prefix=_prefix(b), dir=b.parent)) / "old"
    os.rename(b, aside)
    try:
        os.rename(a, b)
    except OSError:
        os.rename(aside, b)
        aside.parent.rmdir()
        raise
    os.rename(aside, a)
    aside.parent.rmdir()
