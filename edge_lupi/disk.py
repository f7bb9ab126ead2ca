"""Files and folders that others read and write too: read only if they are what was promised, written at once or not at all.

Whatever comes from elsewhere is looked at with `kind_of`, read with `read_bounded` and unpacked with `unpacked_arrays`:
a plain file of bounded size, or one sentence. Whatever is written goes through `write_at_once` (large files through the
`written_at_once` that it is made of) or `write_folder`; their temporaries have a prefix of ours and are locked while
their writer lives, so what a kill leaves can be cleared safely.

A folder is put in place by exchanging two names in one step (renameat2, Linux 3.15): whoever opens it, or ends the
writer whenever he likes, finds all of the old one or all of the other.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import hashlib
import io
import os
import re
import shutil
import stat
import tempfile
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np
from numpy.typing import NDArray

from edge_lupi.errors import BundleError, InputError
from edge_lupi.words import printable

__all__ = [
    "MAX_FILE_BYTES",
    "TEMPORARY",
    "clear_left_overs",
    "entries",
    "identity",
    "kind_of",
    "locked",
    "plain_array",
    "read_bounded",
    "read_checked",
    "temporary_prefix",
    "unpacked_arrays",
    "write_at_once",
    "write_folder",
    "writing",
    "written_at_once",
]

MAX_FILE_BYTES = 1 << 29
MAX_ARRAYS = 64  # in one .npz
MAX_RANK = 8
TEMPORARY = ".edge-lupi-writing-"

PathKind = Literal["file", "folder", "nothing", "other"]

_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
AT_FDCWD, RENAME_EXCHANGE = -100, 2  # linux/fcntl.h, linux/fs.h
NOT_HERE = (errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP)  # an older kernel, or a file system that cannot


def kind_of(path: str | os.PathLike[str]) -> PathKind:
    """What lies at a path that a user gave, links followed; `other` is a pipe, a socket, a device.

    Raises InputError where the path may not be looked at, is too long or can be no path at all.
    """
    try:
        mode = os.stat(path).st_mode
    except (FileNotFoundError, NotADirectoryError):
        return "nothing"
    except (OSError, ValueError) as error:
        raise InputError(
            f"{_shown(path)} cannot be looked at ({_why(error)}): check the path and its permissions"
        ) from error
    return "file" if stat.S_ISREG(mode) else "folder" if stat.S_ISDIR(mode) else "other"


def read_bounded(
    path: str | os.PathLike[str], most_bytes: int, what: str = "a file", *, follow_links: bool = True
) -> bytes:
    """The bytes of a plain file of at most so many. Raises InputError, never waits for a pipe and never reads past the bound.

    `what` says in the sentence what was expected, as in `a trial list`.
    """
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | (0 if follow_links else os.O_NOFOLLOW)
    try:
        handle = os.open(path, flags)
        with os.fdopen(handle, "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                kind = "a folder" if stat.S_ISDIR(status.st_mode) else "something that is no plain file"
                raise InputError(f"expected {what} at {_shown(path)}, got {kind}: check the path")
            data = b"" if status.st_size > most_bytes else file.read(most_bytes + 1)
    except (OSError, ValueError) as error:
        reason = "a link" if getattr(error, "errno", None) == errno.ELOOP else _why(error)
        raise InputError(f"expected {what} at {_shown(path)}, got {reason}: check the path") from error
    if status.st_size > most_bytes or len(data) > most_bytes:
        got = max(status.st_size, len(data))
        raise InputError(f"expected {what} of at most {most_bytes} bytes at {_shown(path)}, got {got}: check the file")
    return data


def entries(folder: str | os.PathLike[str]) -> list[Path]:
    """What a folder that a user gave holds, sorted. Raises InputError where it cannot be listed."""
    try:
        return sorted(Path(folder).iterdir())
    except (OSError, ValueError) as error:
        raise InputError(f"expected a folder at {_shown(folder)}, got {_why(error)}: check the path") from error


def unpacked_arrays(packed: bytes, most_bytes: int) -> dict[str, NDArray[Any]]:
    """The arrays of an .npz, by name. Raises ValueError: more than so many bytes once unpacked, no numbers, or damaged.

    Sizes are added up before anything is unpacked, and every array's header is held against them.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(packed)) as archive:
            members = archive.infolist()
            if len(members) > MAX_ARRAYS or sum(member.file_size for member in members) > most_bytes:
                raise ValueError(f"more than {MAX_ARRAYS} arrays, or more than {most_bytes} bytes unpacked")
            return {member.filename.removesuffix(".npy"): _array(archive, member) for member in members}
    except ValueError:
        raise
    except Exception as error:  # zipfile, zlib, lzma, tokenize, struct and numpy each have kinds of their own
        raise ValueError(f"not an .npz that can be read ({type(error).__name__}: {_why(error)})") from error


def _array(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> NDArray[Any]:
    with archive.open(member) as file:
        return _array_of(file.read(member.file_size))


def plain_array(data: bytes) -> NDArray[Any]:
    """The array of an .npy. Raises ValueError: no numbers, another size than its header says, or damaged."""
    try:
        return _array_of(data)
    except ValueError:
        raise
    except Exception as error:  # tokenize, struct and numpy each have kinds of their own
        raise ValueError(f"not an .npy that can be read ({type(error).__name__}: {_why(error)})") from error


def _array_of(data: bytes) -> NDArray[Any]:
    stream = io.BytesIO(data)
    version = np.lib.format.read_magic(stream)
    if version not in ((1, 0), (2, 0)):
        raise ValueError(f"an array of format {version}")
    read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, in_columns, dtype = read_header(stream)
    count = 1
    for size in shape:
        count *= size
    if dtype.kind not in "biufU" or len(shape) > MAX_RANK or min(shape, default=0) < 0:
        raise ValueError(f"an array of dtype {dtype} and shape {shape}"[:200])
    if count * dtype.itemsize != len(data) - stream.tell():
        raise ValueError("an array of another size than its header says")
    found = np.frombuffer(data, dtype, count, offset=stream.tell())
    result: NDArray[Any] = found.reshape(shape, order="F" if in_columns else "C").copy()
    return result


def read_checked(folder: Path, name: str, expected_bytes: Any, expected_sha256: Any) -> bytes:
    """The bytes of a plain file in `folder`. Raises BundleError where they are not those that were promised."""
    if not _FILE_NAME.fullmatch(name):
        raise BundleError(f"{folder} lists a file that a bundle must not have ({name!r}): do not use this bundle")
    file = folder / name
    promised = expected_bytes if type(expected_bytes) is int and expected_bytes >= 0 else 0
    try:
        data = read_bounded(file, min(promised, MAX_FILE_BYTES), "a file that is listed", follow_links=False)
    except InputError as error:
        raise BundleError(f"{error}, and copy or compile the bundle anew") from error
    if len(data) != expected_bytes:
        raise BundleError(
            f"expected {expected_bytes} bytes in {file}, got {len(data)}: the bundle is damaged; copy or compile it anew"
        )
    if hashlib.sha256(data).hexdigest() != expected_sha256:
        raise BundleError(f"{file} does not match its sha256: the bundle is damaged; copy or compile it anew")
    return data


@contextmanager
def writing(path: Path, hint: str, *, options: Sequence[str] = ()) -> Iterator[None]:
    """Around what writes `path`, whose folder is made: where the system refuses, InputError says so, and the hint."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        raise InputError(f"could not write {_shown(path)} ({_why(error)}): {hint}", options=options) from error


def write_at_once(path: Path, data: bytes, mode: int = 0o644) -> None:
    """Write to a temporary file beside the target, then rename. Raises OSError, and then the target is as it was."""
    with written_at_once(path, mode) as file:
        file.write(data)


@contextmanager
def written_at_once(path: Path, mode: int = 0o644) -> Iterator[IO[bytes]]:
    """A file to write to that takes the target's name when all went well, and else leaves nothing.

    What processes that were killed while they wrote it have left beside it is cleared away.
    """
    file, name = _file_of_ours(path)
    try:
        with file:
            yield file
            file.flush()
            os.fsync(file.fileno())
            os.chmod(name, mode)
            os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)
    with suppress(OSError):  # a folder that may be written to but not listed
        clear_left_overs(path)


def _file_of_ours(target: Path) -> tuple[IO[bytes], str]:
    """A temporary file beside the target, locked so that others see that its writer lives, and its name."""
    while True:
        handle, name = tempfile.mkstemp(prefix=temporary_prefix(target), dir=target.parent)
        with suppress(OSError):  # a file system without locks
            fcntl.flock(handle, fcntl.LOCK_EX)
        if os.path.exists(name):
            return os.fdopen(handle, "wb"), name
        os.close(handle)  # taken for a left-over before it was locked


def write_folder(path: Path, files: Mapping[str, bytes | Path]) -> None:
    """Write a folder of these files in place of the one that may be there. Raises OSError, and then that is as it was.

    A name may be of a file in a folder inside, and a Path is what is copied there. What processes that were killed while they wrote it have left beside it is cleared away.
    """
    target = path.resolve()
    with _folder_of_ours(target) as temporary:
        for name, data in files.items():
            (temporary / name).parent.mkdir(parents=True, exist_ok=True)
            with (temporary / name).open("wb") as file:
                if isinstance(data, Path):
                    with data.open("rb") as source:
                        shutil.copyfileobj(source, file)
                else:
                    file.write(data)
                file.flush()
                os.fsync(file.fileno())
        temporary.chmod(0o755)
        _sync_folder(temporary)
        _put(temporary, target)
    _sync_folder(target.parent)
    clear_left_overs(target)


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
        temporary = Path(tempfile.mkdtemp(prefix=temporary_prefix(target), dir=target.parent))
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


def clear_left_overs(target: Path, *, inside: bool = False) -> None:
    """Remove what writers of this name that were killed have left beside it; those that live hold a lock on theirs.

    With `inside` what writers of any name have left in the folder `target`.
    """
    folder, prefix = (target, TEMPORARY) if inside else (target.parent, temporary_prefix(target))
    for left in [file for file in folder.iterdir() if file.name.startswith(prefix)]:
        with suppress(OSError):
            handle = os.open(left, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)  # fails where its writer lives
                if stat.S_ISDIR(os.fstat(handle).st_mode):
                    shutil.rmtree(left, ignore_errors=True)
                else:
                    left.unlink()
            finally:
                os.close(handle)


def temporary_prefix(target: Path) -> str:
    """Of the temporaries of this target: ours by the first word, this one's by a hash, short whatever the name's length."""
    return f"{TEMPORARY}{hashlib.sha256(os.fsencode(target.name)).hexdigest()[:12]}-"


def _sync_folder(folder: Path) -> None:
    """A name is on the disk only once its folder is."""
    with suppress(OSError):  # a file system that cannot
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _shown(path: str | os.PathLike[str]) -> str:
    text = printable(os.fsdecode(path))
    return text if len(text) <= 200 else f"{text[:200]}..."


def _why(error: BaseException) -> str:
    """What the system says went wrong, without the path."""
    if isinstance(error, FileNotFoundError):
        return "no such file"
    return printable(getattr(error, "strerror", None) or str(error) or type(error).__name__)[:160]


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
    aside = Path(tempfile.mkdtemp(prefix=temporary_prefix(b), dir=b.parent)) / "old"
    os.rename(b, aside)
    try:
        os.rename(a, b)
    except OSError:
        os.rename(aside, b)
        aside.parent.rmdir()
        raise
    os.rename(aside, a)
    aside.parent.rmdir()
