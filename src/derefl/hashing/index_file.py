"""The file of a :class:`~derefl.hashing.index.HashIndex`: arrays that are used where they lie.

Layout (all integers little-endian):

- 24 bytes: the magic, format version (uint32), four zeros, the place of the header (uint64).
- The sections, each at a multiple of 64 bytes: an array, and behind it room for more rows. The room
  is a hole: on most file systems it takes none of the disk.
- The header, at a multiple of 64 bytes: the length of its text and the CRC-32 of that (uint32
  each), then the text, JSON: ``bits``, ``model``, ``sha256`` (of the checkpoint), ``count`` and
  ``sections``: name to :data:`SECTION`.

Rows are appended by writing them into the room, a new header behind all that is there, and last its
place into the first 24 bytes. Those 8 bytes are written whole or not at all, and nothing that an
older header speaks of is changed. So whoever opens the file finds the old index or the new one,
also after a crash at any moment, and whoever has it open keeps what was there.

Opening checks the header, and that the file is as long as it says, which takes a millisecond at any
size. The sections are checked only when asked for, because that reads all of them.

Format 1 is still read: there the header came first, at byte 12, and there was no room.
"""

import hashlib
import json
import math
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from derefl.errors import HashIndexError
from derefl.hashing.growing import Growing

MAGIC = b"\x89LCDH\r\n\x1a"
"""Broken by whatever takes the file for text, as PNG's is."""

VERSION = 2
PREFIX = struct.Struct("<8sI4xQ")
SEAL = struct.Struct("<II")
"""Before the text of the header: its length and CRC-32."""

PLACE_1 = 12
"""Where the header of format 1 is."""

ALIGNMENT = 64

FIELDS = {"bits": int, "model": str, "sha256": str, "count": int, "sections": dict}
HEADER = {1: {**FIELDS, "checksum": str, "body_bytes": int}, 2: FIELDS}
"""The fields of the header by format, and their types. In format 1 one checksum is of all behind
the header, and offsets count from there."""

SECTION = ("dtype", "shape", "offset", "room", "checksums")
"""What is said of a section: for how many rows there is room, and pairs of a number of rows and
their sha256, which together are all rows."""

Checked = tuple[NDArray[np.uint8], str]
"""Bytes of the file and their sha256."""


@dataclass(frozen=True)
class Head:
    """The header of a file.

    Attributes:
        place: where it begins in the file.
        text: its JSON.
        fields: what that says.
    """

    place: int
    text: bytes
    fields: dict[str, Any]

    @property
    def end(self) -> int:
        """Where the next thing can be put behind it."""
        return padded(self.place + SEAL.size + len(self.text))

    def sealed(self) -> bytes:
        """What stands in the file."""
        return SEAL.pack(len(self.text), zlib.crc32(self.text)) + self.text

    def is_in(self, file: IO[bytes]) -> bool:
        """Whether it is still the header of this file."""
        file.seek(0)
        if file.read(PREFIX.size) != PREFIX.pack(MAGIC, VERSION, self.place):
            return False
        file.seek(self.place)
        return file.read(SEAL.size + len(self.text)) == self.sealed()


@dataclass(frozen=True)
class IndexFile:
    """An opened file; the arrays are on disk until they are used, and writing changes no file.

    Attributes:
        path: where it lay when it was opened.
        version: of its format.
        head: what it says of itself.
        sections: the arrays by name, with their room.
        checked: what can be compared with its checksum.
    """

    path: Path
    version: int
    head: Head
    sections: dict[str, Growing]
    checked: list[Checked]

    def verify(self) -> None:
        """Read all that there is a checksum of.

        Raises:
            HashIndexError: it is not what was written.
        """
        if any(sha256(values) != checksum for values, checksum in self.checked):
            raise HashIndexError(
                f"{self.path} is damaged: its contents do not match its checksum; build it again "
                "with derefl index, or get it again"
            )


def sha256(values: NDArray) -> str:
    """The sha256 of the bytes of an array."""
    return hashlib.sha256(np.ascontiguousarray(values).reshape(-1).view(np.uint8).data).hexdigest()


def padded(length: int) -> int:
    """The next multiple of :data:`ALIGNMENT`."""
    return -(-length // ALIGNMENT) * ALIGNMENT


def open_index(path: str | Path) -> IndexFile:
    """Map a file into memory.

    Raises:
        HashIndexError: there is none, it is of another kind or of a newer format, its header is
            damaged, or it is shorter than that says.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            start = file.read(PREFIX.size)  # before mapping: what it speaks of is there by then
            whole = mapped(file)
    except FileNotFoundError as error:
        raise HashIndexError(
            f"{path}: there is no such file; make it with: derefl index PHOTOS -o {path}"
        ) from error
    except (OSError, ValueError) as error:  # ValueError: it is empty
        raise HashIndexError(f"{path} cannot be read as an index: {error}") from error
    if not start.startswith(MAGIC[: len(start)]):
        raise HashIndexError(
            f"{path} is no index of derefl; name a file that derefl index or HashIndex.save wrote"
        )
    if len(start) < PREFIX.size:
        raise cut_short(path, len(start), PREFIX.size)
    _, version, place = PREFIX.unpack(start)
    if version not in HEADER:
        raise HashIndexError(
            f"{path} is of format {version}, expected {VERSION}: another version of derefl wrote "
            "it; update this one with: pip install --upgrade derefl"
        )
    head = read_head(path, whole, PLACE_1 if version == 1 else place, HEADER[version])
    read = sections_1 if version == 1 else sections_2
    try:
        sections, checked = read(whole, head)
    except (TypeError, ValueError, KeyError, IndexError, SyntaxError) as error:
        raise HashIndexError(
            f"{path} is damaged: a section does not lie within it ({error}); build it again"
        ) from error
    return IndexFile(path, version, head, sections, checked)


def mapped(file: IO[bytes]) -> NDArray[np.uint8]:
    """The bytes of a file. What is written there goes to memory, page by page, not to the file."""
    try:
        return np.memmap(file, np.uint8, "c").view(np.ndarray)
    except OSError:  # a system that sets memory aside for it has less than the file's size
        return np.memmap(file, np.uint8, "r").view(np.ndarray)


def read_head(
    path: Path, whole: NDArray[np.uint8], place: int, expected: Mapping[str, type]
) -> Head:
    """The header at a place.

    Raises:
        HashIndexError: it is cut off, damaged, or lacks a field.
    """
    start = place + SEAL.size
    if start > len(whole):
        raise cut_short(path, len(whole), start)
    length, checksum = SEAL.unpack(whole[place:start].tobytes())
    text = whole[start : start + length].tobytes()
    if len(text) < length or zlib.crc32(text) != checksum:
        raise HashIndexError(
            f"{path} is damaged or cut short: its header does not match its checksum; get it "
            "again, or build it again with derefl index"
        )
    try:
        fields = json.loads(text)
        wrong = [name for name, kind in expected.items() if type(fields[name]) is not kind]
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise HashIndexError(f"{path} is damaged: no header of an index ({error})") from error
    if wrong:
        raise HashIndexError(f"{path} is damaged: {wrong[0]!r} in its header is of the wrong type")
    if "body_bytes" in expected and len(whole) != start + length + fields["body_bytes"]:
        raise cut_short(path, len(whole), start + length + fields["body_bytes"])
    return Head(place, text, fields)


def cut_short(path: Path, length: int, expected: int) -> HashIndexError:
    """The error of a file that is not as long as it says."""
    return HashIndexError(
        f"{path} is {'cut short' if length < expected else 'damaged'}: it has {length} bytes, "
        f"expected {expected}; get it again, or build it again with derefl index"
    )


def sections_1(whole: NDArray[np.uint8], head: Head) -> tuple[dict[str, Growing], list[Checked]]:
    """The sections of format 1, and what is checked."""
    body = whole[head.place + SEAL.size + len(head.text) :]
    sections = {
        name: section(body, **place, room=place["shape"][0])
        for name, place in head.fields["sections"].items()
    }
    return sections, [(body, head.fields["checksum"])]


def sections_2(whole: NDArray[np.uint8], head: Head) -> tuple[dict[str, Growing], list[Checked]]:
    """The sections of format 2, and what is checked."""
    sections, checked = {}, []
    for name, place in head.fields["sections"].items():
        checksums = place["checksums"]
        sections[name] = section(
            whole[: head.place], **{key: place[key] for key in SECTION if key != "checksums"}
        )
        rows, start = sections[name].values, 0
        for number, checksum in checksums:
            if type(number) is not int or number < 0:
                raise ValueError(f"a checksum of {number!r} rows, expected a whole number from 0")
            checked.append((rows[start : start + number], checksum))
            start += number
        if not checksums or start != len(rows):
            raise ValueError(f"checksums of {start} of {len(rows)} rows")
    return sections, checked


def section(
    body: NDArray[np.uint8], dtype: str, shape: list[int], offset: int, room: int
) -> Growing:
    """A part of the body as an array; numpy itself would also go back from its beginning."""
    kind = np.dtype(dtype)
    if kind.kind not in "iu":  # objects would be addresses, to anywhere
        raise ValueError(f"type {dtype}, expected integers")
    length, *row = shape
    if any(type(number) is not int or number < 0 for number in [offset, room, *shape]):
        raise ValueError(f"shape {shape} at {offset}, expected whole numbers from 0")
    end = offset + room * math.prod(row) * kind.itemsize
    if end > len(body) or length > room:
        raise ValueError(f"{length} of {room} rows at bytes {offset} to {end} of {len(body)}")
    return Growing(body[offset:end].view(kind).reshape(room, *row), length)
