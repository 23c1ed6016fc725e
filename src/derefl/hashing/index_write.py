"""Writing the file of an index: whole, or only what came since."""

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from derefl.errors import HashIndexError
from derefl.files import atomic_file
from derefl.hashing.growing import with_room
from derefl.hashing.index_file import MAGIC, PREFIX, VERSION, Head, padded, sha256

SLACK = 1 << 16
"""So many bytes of older headers and extra values a file may hold whatever its size."""


def write_index(
    path: str | Path,
    about: Mapping[str, Any],
    columns: Mapping[str, NDArray],
    extra: NDArray[np.uint8],
) -> Head:
    """Write the file, whole or not at all, also over the one that the columns are mapped from.

    Args:
        path: a file; missing folders are made.
        about: what is to stand in the header, besides what is known from the columns.
        columns: arrays of little-endian numbers by name, which get room to grow.
        extra: the section of this name, which gets none.

    Raises:
        OutputError: the file cannot be written, for example because the disk is full.
    """
    with atomic_file(path) as file:
        places, end = {}, padded(PREFIX.size)
        for name, values in columns.items():
            places[name] = put(file, values, end, with_room(len(values)))
            end += padded(places[name]["room"] * row_bytes(values))
        places["extra"] = put(file, extra, end, len(extra))
        head = put_head(file, about, places, padded(end + len(extra)))
        commit(file, head)
    return head


def append_index(
    path: str | Path,
    head: Head,
    about: Mapping[str, Any],
    columns: Mapping[str, NDArray],
    extra: NDArray[np.uint8],
) -> Head | None:
    """Write only what the columns have more than the file, if it has room.

    Args:
        path: the file.
        head: its header, when the columns began with what is in it. They still do.
        about, columns, extra: as in :func:`write_index`.

    Returns:
        The new header; None if nothing was written, because the file is gone or another one by
        now, has no room, or consists of older headers and extra values to an eighth, or because
        this system has no locks that guard it.

    Raises:
        HashIndexError: it cannot be written; the file holds what it held.
    """
    places = {name: dict(place) for name, place in head.fields["sections"].items()}
    last = places.pop("extra")
    fits = places.keys() == columns.keys() and all(
        len(values) <= places[name]["room"] and values.dtype.str == places[name]["dtype"]
        for name, values in columns.items()
    )
    if not fits:
        return None
    used = last["room"] + sum(places[n]["room"] * row_bytes(columns[n]) for n in places)
    if head.end - used > used // 8 + SLACK:  # the rest is older headers and extra values
        return None
    try:
        with Path(path).open("r+b") as file:
            if not lock(file) or not head.is_in(file):
                return None
            for name, values in columns.items():
                if len(values) > places[name]["shape"][0]:
                    more(file, values, places[name])
            end = head.end
            if last["checksums"] != [[len(extra), sha256(extra)]]:
                last, end = put(file, extra, end, len(extra)), padded(end + len(extra))
            places["extra"] = last
            if {**about, "sections": places} == head.fields:
                return head
            head = put_head(file, about, places, end)
            file.flush()
            os.fsync(file.fileno())  # or the disk may write what comes next before that
            commit(file, head)
            return head
    except FileNotFoundError:
        return None
    except OSError as error:
        raise HashIndexError(f"{path} cannot be written: {error}") from error


def put(file: IO[bytes], values: NDArray, offset: int, room: int) -> dict[str, Any]:
    """Write a section; what the header says of it."""
    file.seek(offset)
    file.write(np.ascontiguousarray(values).reshape(-1).view(np.uint8).data)
    return {
        "dtype": values.dtype.str,
        "shape": list(values.shape),
        "offset": offset,
        "room": room,
        "checksums": [[len(values), sha256(values)]],
    }


def more(file: IO[bytes], values: NDArray, place: dict[str, Any]) -> None:
    """Write the rows of a section that are new, and change what the header says of it."""
    before, (first, checksum) = place["shape"][0], place["checksums"][0]
    file.seek(place["offset"] + before * row_bytes(values))
    file.write(np.ascontiguousarray(values[before:]).reshape(-1).view(np.uint8).data)
    place["shape"] = list(values.shape)
    # All that was ever appended has one checksum: there are at most two, and the second is of an
    # eighth of the rows at most.
    place["checksums"] = [[first, checksum], [len(values) - first, sha256(values[first:])]]


def put_head(
    file: IO[bytes], about: Mapping[str, Any], places: dict[str, dict[str, Any]], place: int
) -> Head:
    """Write a header, which counts once it is committed."""
    fields = {**about, "sections": places}
    head = Head(place, json.dumps(fields).encode(), fields)
    file.seek(place)
    file.write(head.sealed())
    return head


def commit(file: IO[bytes], head: Head) -> None:
    """Make a header the one that counts."""
    file.seek(0)
    file.write(PREFIX.pack(MAGIC, VERSION, head.place))


def lock(file: IO[bytes]) -> bool:
    """Keep other writers out until the file is closed; whether that worked."""
    try:
        import fcntl
    except ImportError:  # Windows
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def row_bytes(values: NDArray) -> int:
    """How many bytes a row of an array takes."""
    return math.prod(values.shape[1:]) * values.itemsize
