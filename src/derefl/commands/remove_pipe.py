"""Standard input and output instead of files for ``derefl remove``."""

import shutil
import sys
from pathlib import Path

from derefl.errors import ImageError
from derefl.files import atomic_file
from derefl.imaging.formats import FORMATS
from derefl.imaging.opening import format_of

EXAMPLE = "derefl remove - -o - < window.jpg > clean.jpg"


def refuse_terminal(source: str, output: str | None) -> None:
    """Raise ImageError if standard input or output is a terminal."""
    if source == "-" and sys.stdin.isatty():
        raise ImageError(f"standard input is a terminal, expected a picture: {EXAMPLE}")
    if output == "-" and sys.stdout.isatty():
        raise ImageError(f"standard output is a terminal, expected a pipe or a file: {EXAMPLE}")


def receive(folder: Path) -> Path:
    """Store standard input as a file in a folder.

    Raises:
        ImageError: the input is empty.
    """
    path = folder / "standard input"
    with atomic_file(path) as file:
        shutil.copyfileobj(sys.stdin.buffer, file)
    if path.stat().st_size == 0:
        raise ImageError(f"standard input is empty, expected a picture: {EXAMPLE}")
    return path


def ending_of(path: Path) -> str:
    """The ending, with the dot, for a file's format, read from the content.

    Raises:
        ImageError: not a picture, or a format that derefl cannot write.
        MissingExtraError: HEIF, and the package for HEIF is not installed.
    """
    name = format_of(path)
    for ending, form in FORMATS.items():
        if form.name == name:
            return ending
    raise ImageError(f"{path} is {name}, which derefl does not write; add --format png")


def deliver(path: Path) -> None:
    """Copy a file to standard output."""
    with path.open("rb") as file:
        shutil.copyfileobj(file, sys.stdout.buffer)
