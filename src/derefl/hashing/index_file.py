"""The file of a :class:`~derefl.hashing.index.HashIndex`: arrays that are used where they lie.

Layout (all integers little-endian):

- 20 bytes: the magic, format version, length of the header, CRC-32 of the header (uint32 each).
- The header, JSON: ``bits``, ``model``, ``sha256`` (of the checkpoint), ``count``, ``body_bytes``,
  ``checksum`` (sha256 of the body) and ``sections``: name to dtype, shape and offset.
- The body: the sections, each beginning at a multiple of 64 bytes, zeros between.

Opening checks the header, and that the file is as long as it says, which takes a millisecond at any
size. The body is checked only when asked for, because that reads all of it.
"""

import hashlib
import json
import math
import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from derefl.errors import HashIndexError
from derefl.files import atomic_path

MAGIC = b"\x89LCDH\r\n\x1a"
"""Broken by whatever takes the file for text, as PNG's is."""

VERSION = 1
PREFIX = struct.Struct("<8sIII")
ALIGNMENT = 64


HEADER = {
    "bits": int,
    "model": str,
    "sha256": str,
    "count": int,
    "body_bytes": int,
    "checksum": str,
    "sections": dict,
}
"""Every field of the header, and its type."""


@dataclass(frozen=True)
class IndexFile:
    """An opened file; the arrays are read-only and on disk until they are used.

    Attributes:
        path: where it lay when it was opened.
        header: what it says of itself.
        sections: the arrays by name.
        body: everything behind the header.
    """

    path: Path
    header: dict[str, Any]
    sections: dict[str, NDArray]
    body: NDArray[np.uint8]

    def verify(self) -> None:
        """Read the whole body.

        Raises:
            HashIndexError: it is not what was written.
        """
        if hashlib.sha256(self.body.data).hexdigest() != self.header["checksum"]:
            raise HashIndexError(
                f"{self.path} is damaged: its contents do not match its checksum; build it again "
                "with derefl index, or get it again"
            )


def write_index(
    path: str | Path, header: Mapping[str, Any], sections: Mapping[str, NDArray]
) -> None:
    """Write the file, whole or not at all, also over the one that the sections are mapped from.

    Args:
        path: a file; missing folders are made.
        header: what is to stand in it, besides what is known from the sections.
        sections: arrays of little-endian numbers by name.

    Raises:
        HashIndexError: it cannot be written, the disk being full for example.
    """
    places, offset = {}, 0
    for name, values in sections.items():
        places[name] = {"dtype": values.dtype.str, "shape": values.shape, "offset": offset}
        offset += padded(values.nbytes)
    digest = hashlib.sha256()
    for piece in pieces(sections):
        digest.update(piece)
    full = {**header, "checksum": digest.hexdigest(), "body_bytes": offset, "sections": places}
    text = json.dumps(full).encode()
    text += b" " * (padded(PREFIX.size + len(text)) - PREFIX.size - len(text))
    try:
        with atomic_path(path) as temporary, temporary.open("wb") as file:
            file.write(PREFIX.pack(MAGIC, VERSION, len(text), zlib.crc32(text)) + text)
            for piece in pieces(sections):
                file.write(piece)
    except OSError as error:
        raise HashIndexError(f"{path} cannot be written: {error}") from error


def pieces(sections: Mapping[str, NDArray]) -> Iterator[memoryview | bytes]:
    """The body, piece by piece."""
    for values in sections.values():
        yield np.ascontiguousarray(values).reshape(-1).view(np.uint8).data
        yield bytes(padded(values.nbytes) - values.nbytes)


def padded(length: int) -> int:
    """The next multiple of :data:`ALIGNMENT`."""
    return -(-length // ALIGNMENT) * ALIGNMENT


def open_index(path: str | Path) -> IndexFile:
    """Map a file into memory.

    Raises:
        HashIndexError: there is none, it is of another kind or of a newer format, its header is
            damaged, or it is longer or shorter than that says.
    """
    path = Path(path)
    try:
        whole = np.memmap(path, np.uint8, "r").view(np.ndarray)
    except FileNotFoundError as error:
        raise HashIndexError(
            f"{path}: there is no such file; make it with: derefl index PHOTOS -o {path}"
        ) from error
    except (OSError, ValueError) as error:  # ValueError: it is empty
        raise HashIndexError(f"{path} cannot be read as an index: {error}") from error
    header, start = read_header(path, whole)
    body = whole[start:]
    if len(body) != header["body_bytes"]:
        raise HashIndexError(
            f"{path} is {'cut short' if len(body) < header['body_bytes'] else 'damaged'}: it has "
            f"{len(whole)} bytes, expected {start + header['body_bytes']}; get it again, or build "
            "it again with derefl index"
        )
    try:
        sections = {name: section(body, **place) for name, place in header["sections"].items()}
    except (TypeError, ValueError, SyntaxError) as error:
        raise HashIndexError(
            f"{path} is damaged: a section does not lie within it ({error}); build it again"
        ) from error
    return IndexFile(path, header, sections, body)


def section(body: NDArray[np.uint8], dtype: str, shape: list[int], offset: int) -> NDArray:
    """A part of the body as an array; numpy itself would also go back from its beginning."""
    kind = np.dtype(dtype)
    if kind.kind not in "iu":  # objects would be addresses, to anywhere
        raise ValueError(f"type {dtype}, expected integers")
    if any(type(number) is not int or number < 0 for number in [offset, *shape]):
        raise ValueError(f"shape {shape} at {offset}, expected whole numbers from 0")
    end = offset + math.prod(shape) * kind.itemsize
    if end > len(body):
        raise ValueError(f"bytes {offset} to {end} of {len(body)}")
    return body[offset:end].view(kind).reshape(shape)


def read_header(path: Path, whole: NDArray[np.uint8]) -> tuple[dict[str, Any], int]:
    """The header, and where the body begins."""
    start = whole[: PREFIX.size].tobytes()
    if not start.startswith(MAGIC[: len(start)]):
        raise HashIndexError(
            f"{path} is no index of derefl; name a file that derefl index or HashIndex.save wrote"
        )
    if len(start) < PREFIX.size:
        raise HashIndexError(
            f"{path} is cut short: it has {len(whole)} bytes, expected at least {PREFIX.size}; get "
            "it again, or build it again with derefl index"
        )
    _, version, length, checksum = PREFIX.unpack(start)
    if version != VERSION:
        raise HashIndexError(
            f"{path} is of format {version}, expected {VERSION}: another version of derefl wrote "
            "it; update this one with: pip install --upgrade derefl"
        )
    text = whole[PREFIX.size : PREFIX.size + length].tobytes()
    if zlib.crc32(text) != checksum:
        raise HashIndexError(
            f"{path} is damaged or cut short: its header does not match its checksum; get it "
            "again, or build it again with derefl index"
        )
    try:
        header = json.loads(text)
        wrong = [name for name, kind in HEADER.items() if type(header[name]) is not kind]
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise HashIndexError(f"{path} is damaged: no header of an index ({error})") from error
    if wrong:
        raise HashIndexError(f"{path} is damaged: {wrong[0]!r} in its header is of the wrong type")
    return header, PREFIX.size + length
