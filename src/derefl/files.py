"""Write files atomically: a file is complete or does not exist."""

import errno
import io
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from derefl.errors import OutputError, OutputExistsError


class Output(io.BufferedWriter):
    """A buffered file that hides its descriptor.

    Pillow writes directly to a descriptor and does not notice a partial write to a full disk.
    """

    def fileno(self) -> int:
        raise io.UnsupportedOperation("fileno")


@contextmanager
def atomic_file(path: str | Path) -> Iterator[BinaryIO]:
    """Yield a new binary file that replaces ``path`` once all its bytes are on the disk.

    After an error or Ctrl-C in the block, ``path`` is unchanged and no temporary file remains. The
    new file gets the permissions of the replaced file. A link is replaced, not followed.

    Args:
        path: a regular file; missing folders are created.

    Raises:
        OutputError: the file cannot be written, for example because the disk is full.
    """
    path = Path(path)
    check_output(path, overwrite=True)
    temporary = path.parent / f".derefl-{secrets.token_hex(4)}"  # a name has at most 255 bytes
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        old = path.lstat() if path.is_file() and not path.is_symlink() else None
        mode = stat.S_IMODE(old.st_mode) if old else 0o666
        raw = io.FileIO(temporary, "x", opener=lambda name, flags: os.open(name, flags, mode))
        try:
            with Output(raw) as file:
                yield file
                file.flush()
                os.fsync(raw.fileno())
            if old:
                with suppress(OSError, AttributeError):  # no permission, or Windows
                    os.chown(temporary, old.st_uid, old.st_gid)
                with suppress(OSError):  # some file systems have no modes
                    temporary.chmod(mode)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise unwritable(path, error) from error


def write_file(path: str | Path, data: bytes) -> None:
    """Write a file with :func:`atomic_file`."""
    with atomic_file(path) as file:
        file.write(data)


def check_output(path: str | Path, overwrite: bool = False) -> None:
    """Raise an error if a file cannot be written; call this before the work starts.

    Raises:
        OutputExistsError: the file exists and ``overwrite`` is off.
        OutputError: ``path`` is a folder or a device, a name in ``path`` is too long, a parent is
            not a folder, or the write permission is missing.
    """
    path = Path(path)
    try:
        folder = next(parent for parent in path.parents if os.path.lexists(parent))
        for name in path.relative_to(folder).parts:
            with suppress(FileNotFoundError):
                (folder / name).lstat()  # an error if the name is too long
        if not folder.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, f"{folder} is not a folder")
        effective = os.access in os.supports_effective_ids
        if not os.access(folder, os.W_OK | os.X_OK, effective_ids=effective):
            raise PermissionError(errno.EACCES, f"no permission to write in {folder}")
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, "it is a folder, expected a file")
        if path.exists() and not path.is_file():
            raise OSError(errno.EINVAL, "it is a device or a pipe, expected a file")
    except (OSError, ValueError, StopIteration) as error:  # ValueError: a null byte
        raise unwritable(path, error) from error
    if os.path.lexists(path) and not overwrite:
        raise OutputExistsError(
            f"{path} already exists; choose another name, or replace it: --overwrite on the "
            "command line, overwrite=True in Python"
        )


def unwritable(path: Path, error: Exception) -> OutputError:
    """The error for a file that cannot be written."""
    reason = getattr(error, "strerror", None) or error
    return OutputError(f"{path} cannot be written: {reason}; choose another name or folder")
