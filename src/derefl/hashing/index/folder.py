"""Indexes of photo folders: find new and changed photos, encode the photos, make their ids."""

import os
import shlex
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from derefl.errors import DereflError, HashIndexError
from derefl.hashing.codes import Codes
from derefl.hashing.index.hash_index import HashIndex

if TYPE_CHECKING:
    from derefl.hashing.hasher import Hasher  # importing torch takes seconds

MODEL = "lcdh-student"
"""The model of an index without a model name."""

BATCH = 16
"""Pictures per batch of encoding and saving."""


@dataclass(frozen=True)
class Update:
    """The result of :func:`update`.

    Attributes:
        encoded: number of pictures with a new code.
        as_before: number of unchanged pictures.
        dropped: ids that were removed because their pictures are gone.
        failures: why pictures could not be read. Their old codes stay in the index.
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
    save: Callable[[], None] = lambda: None,
) -> Update:
    """Encode the pictures that are new or changed.

    Args:
        index: the index. Its stamps hold the size and time of each file when it was encoded.
        hasher: the hasher of the index's model.
        paths: id to picture.
        drop: ids to remove from the index.
        progress: called before the first batch and after each batch, with the number of finished
            pictures and the total.
        save: called after each batch.
    """
    before = dict(zip(index.ids, map(tuple, index.stamps.tolist()), strict=True))
    stamps = {id: stamp(path) for id, path in paths.items()}
    due = [id for id in paths if stamps[id] != before.get(id)]
    index.remove(drop)
    failures: list[DereflError] = []
    progress(0, len(due))
    for start in range(0, len(due), BATCH):
        codes: dict[str, Codes] = {}
        batch = due[start : start + BATCH]
        for id, code in zip(batch, encode(hasher, [paths[id] for id in batch]), strict=True):
            if isinstance(code, DereflError):
                failures.append(code)
            else:
                codes[id] = code
        if codes:
            found = np.array([stamps[id] or NO_STAMP for id in codes], np.int64)
            index.upsert(np.stack(list(codes.values())), codes, found)
        save()
        progress(start + len(batch), len(due))
    return Update(len(due) - len(failures), len(paths) - len(due), len(drop), failures)


def encode(hasher: "Hasher", paths: list[Path]) -> list[Codes | DereflError]:
    """A code or an error for each picture. A bad picture does not affect the others."""
    try:
        return list(hasher.encode_image(paths))
    except DereflError as error:
        if len(paths) == 1:
            return [error]
        return [result for path in paths for result in encode(hasher, [path])]


def missing(
    index: HashIndex,
    paths: Collection[str],
    inputs: list[Path],
    home: Path,
    closed: list[Path],
) -> tuple[list[str], list[DereflError]]:
    """The ids below the inputs for which no picture was found.

    Args:
        index: the index to update.
        paths: ids of all pictures that were found.
        inputs: files and folders that were searched.
        home: the folder that ids are relative to.
        closed: folders in the inputs that cannot be searched.

    Returns:
        The ids whose pictures are gone, and one error for each folder outside ``closed`` where
        this could not be checked.
    """
    base, places = absolute(home), [absolute(path) for path in inputs]
    unknown = {absolute(path) for path in closed}
    dropped: list[str] = []
    errors: list[DereflError] = []
    for id in index.ids:
        path = base / str(id)
        if isinstance(id, int) or id in paths or not is_below(path, places):
            continue
        try:
            if is_gone(path):
                dropped.append(id)
        except OSError as error:
            if not is_below(path, unknown):
                unknown.add(path.parent)
                errors.append(unsearchable(path.parent, error))
    return dropped, errors


def is_gone(path: Path) -> bool:
    """Whether a file no longer exists.

    Raises:
        OSError: the file or its folder cannot be accessed.
    """
    try:
        path.stat()
        return False
    except (FileNotFoundError, NotADirectoryError):
        if path.is_symlink():
            raise
    folder = next(folder for folder in path.parents if os.path.lexists(folder))
    os.scandir(folder).close()
    return True


def is_below(path: Path, places: Collection[Path]) -> bool:
    """Whether the path is one of the places, or is inside one of them."""
    return any(place == path or place in path.parents for place in places)


def unsearchable(folder: Path, error: OSError) -> HashIndexError:
    """The error for a folder that cannot be searched during an update."""
    return HashIndexError(
        f"{folder} cannot be searched: {error.strerror}; its photos are neither added to the index "
        "nor dropped from it"
    )


def model_of(name: str) -> str:
    """The model that an index names, if its weights come with the package.

    Other models are loaded only when a user names them: a file must not start a download.

    Raises:
        HashIndexError: another model.
    """
    from derefl.zoo import list_models

    if name and name not in {entry.name for entry in list_models() if entry.where.bundled}:
        raise HashIndexError(
            f"the index names the model {name!r}, which does not come with derefl; if you trust "
            f"it, add: --model {shlex.quote(name)}"
        )
    return name or MODEL


NO_STAMP = (-1, -1)


def stamp(path: Path) -> tuple[int, ...]:
    """File size in bytes and time of change in ns; empty if the file is gone."""
    try:
        status = path.stat()
    except OSError:
        return ()
    return status.st_size, status.st_mtime_ns


def absolute(path: Path) -> Path:
    """The path without links and dots in its folders; a picture that is a link is not resolved."""
    is_folder = os.path.isdir(path)  # noqa: PTH112 (Path's raises where a folder may not be read)
    return path.resolve() if is_folder else path.parent.resolve() / path.name


def photo_id(path: Path, home: Path) -> str:
    """A picture's id: its path relative to ``home`` if the picture is inside, else absolute."""
    full, base = absolute(path), absolute(home)
    return (full.relative_to(base) if full.is_relative_to(base) else full).as_posix()


def photo_path(id: int | str, home: Path) -> Path:
    """The path of an id: relative to the working folder if the picture is inside, else absolute."""
    path, here = absolute(home) / str(id), Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path
