"""Folders of photos and their index: which photos are due, encoding them, naming them."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from derefl.errors import DereflError, HashIndexError
from derefl.hashing.codes import Codes
from derefl.hashing.index import HashIndex

if TYPE_CHECKING:
    from derefl.hashing.hasher import Hasher  # torch takes seconds

BATCH = 16
"""Pictures encoded in one go."""


@dataclass(frozen=True)
class Update:
    """What :func:`update` did.

    Attributes:
        encoded: pictures whose code is new in the index.
        as_before: pictures found unchanged.
        dropped: ids that went because their pictures are gone.
        failures: why pictures could not be read; they are not in the index.
    """

    encoded: int
    as_before: int
    dropped: int
    failures: list[DereflError]


def update(
    index: HashIndex,
    hasher: "Hasher",
    paths: dict[str, Path],
    drop: list[str],
    progress: Callable[[int, int], None],
) -> Update:
    """Encode the pictures that are new or changed.

    Args:
        index: its ``extra["files"]`` has size and time of change of each file when it was encoded.
        hasher: of the model whose codes the index has.
        paths: id to picture.
        drop: ids in the index that are to go.
        progress: told before the first and after each batch how many of how many are done.

    Raises:
        HashIndexError: ``extra["files"]`` is no object.
    """
    before = index.extra.get("files", {})
    if not isinstance(before, dict):
        raise HashIndexError(
            "the index says nothing usable of its files, so what changed cannot be told; build it "
            "again with derefl index --overwrite"
        )
    stamps = {id: stamp(path) for id, path in paths.items()}
    due = [id for id in paths if stamps[id] != before.get(id) or id not in index]
    codes: dict[str, Codes] = {}
    failures: list[DereflError] = []
    progress(0, len(due))
    for start in range(0, len(due), BATCH):
        batch = due[start : start + BATCH]
        for id, code in zip(batch, encode(hasher, [paths[id] for id in batch]), strict=True):
            if isinstance(code, DereflError):
                failures.append(code)
            else:
                codes[id] = code
        progress(start + len(batch), len(due))

    stale = [id for id in due if id in index and id not in codes]
    index.remove(drop + stale)
    if codes:
        index.upsert(np.stack(list(codes.values())), codes)
    known = before | stamps
    index.extra = {"files": {id: known[id] for id in map(str, index.ids) if id in known}}
    return Update(len(codes), len(paths) - len(due), len(drop), failures)


def encode(hasher: "Hasher", paths: list[Path]) -> list[Codes | DereflError]:
    """A code for each picture, or why there is none; one bad picture does not spoil the others."""
    try:
        return list(hasher.encode_image(paths))
    except DereflError as error:
        if len(paths) == 1:
            return [error]
        return [result for path in paths for result in encode(hasher, [path])]


def gone(index: HashIndex, paths: dict[str, Path], inputs: list[Path], home: Path) -> list[str]:
    """The ids in the index that belong to the inputs, but of which no picture was found there.

    Args:
        index: to be updated.
        paths: id to picture, all that were found.
        inputs: files and folders that were looked at.
        home: the folder that ids are relative to.
    """
    base, places = absolute(home), [absolute(path) for path in inputs]
    return [
        id
        for id in index.ids
        if isinstance(id, str)
        and id not in paths
        and any((base / id).is_relative_to(place) for place in places)
    ]


def stamp(path: Path) -> list[int]:
    """What changes when a file does: size in bytes, time of change in ns; nothing if it is gone."""
    try:
        status = path.stat()
    except OSError:
        return []
    return [status.st_size, status.st_mtime_ns]


def absolute(path: Path) -> Path:
    """The path without links and dots in its folders; a picture that is a link stays one."""
    return path.resolve() if path.is_dir() else path.parent.resolve() / path.name


def photo_id(path: Path, home: Path) -> str:
    """A picture's id: its path from the folder ``home`` if it lies below, else absolute."""
    full, base = absolute(path), absolute(home)
    return (full.relative_to(base) if full.is_relative_to(base) else full).as_posix()


def photo_path(id: int | str, home: Path) -> Path:
    """The picture of an id, as a path from the working folder if it lies below, else absolute."""
    path, here = absolute(home) / str(id), Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path
