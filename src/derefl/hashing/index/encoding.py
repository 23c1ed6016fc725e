"""Encode files of pictures into an index."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from derefl.errors import DereflError
from derefl.hashing.codes import Codes
from derefl.imaging.folders import find_pictures

if TYPE_CHECKING:
    from derefl.hashing.hasher import Hasher  # importing torch takes seconds
    from derefl.hashing.index.hash_index import HashIndex
    from derefl.hashing.pictures import Views

BATCH = 16
"""Pictures per batch of encoding and saving."""

Stamps = NDArray[np.int64]
Pictures = Mapping[str, Path] | Iterable[str | Path] | str | Path
Progress = bool | Callable[[int, int], object]


class Added(NamedTuple):
    """The result of :meth:`~derefl.HashIndex.add_pictures`.

    Attributes:
        encoded: number of pictures with a new code.
        as_before: number of unchanged pictures.
        failures: why pictures could not be read. Their old codes stay in the index.
    """

    encoded: int
    as_before: int
    failures: list[DereflError]


def add_pictures(
    index: "HashIndex",
    pictures: Pictures,
    exclude: str | Sequence[str],
    save_to: str | Path | None,
    progress: Progress,
) -> Added:
    """See :meth:`~derefl.HashIndex.add_pictures`."""
    if isinstance(pictures, Mapping):
        paths = pictures
    else:
        given = [pictures] if isinstance(pictures, str | Path) else pictures
        found = find_pictures(map(Path, given), exclude=exclude)
        paths = {str(path): path for path, _ in found}
    before = dict(zip(index.ids, map(tuple, index.stamps.tolist()), strict=True))
    stamps = {id: stamp(path) for id, path in paths.items()}
    due = [id for id in paths if stamps[id] != before.get(id)]
    failures: list[DereflError] = []
    hasher = index.hasher  # an error before a file is written
    if save_to:
        index.save(save_to)  # a failure is reported before the work
    ids = iter(due)
    with tqdm(total=len(due), unit="picture", disable=progress is not True) as bar:
        report = progress if callable(progress) else lambda done, total: bar.update(done - bar.n)
        report(0, len(due))
        done = 0
        for results in encode_files(hasher, (paths[id] for id in due)):
            codes: dict[str, Codes] = {}
            for result in results:
                id = next(ids)
                if isinstance(result, DereflError):
                    failures.append(result)
                else:
                    codes[id] = result
            if codes:
                files = np.array([stamps[id] or (-1, -1) for id in codes], np.int64)
                index.upsert(np.stack(list(codes.values())), codes, files)
            if save_to:
                index.save(save_to)
            done += len(results)
            report(done, len(due))
    return Added(len(due) - len(failures), len(paths) - len(due), failures)


def encode_files(hasher: "Hasher", paths: Iterable[Path]) -> Iterator[list[Codes | DereflError]]:
    """A code or an error for each file, in batches; a bad picture does not affect the others."""
    from derefl.hashing.pictures import prepared  # imports torch

    waiting = prepared(paths, hasher.config.image_size)
    while batch := list(islice(waiting, BATCH)):
        results = [result_or_error(future) for future in batch]
        views: list[Any] = [r for r in results if not isinstance(r, DereflError)]
        codes = iter(hasher.encode_image(views))
        yield [r if isinstance(r, DereflError) else next(codes) for r in results]


def result_or_error(future: "Future[Views]") -> "Views | DereflError":
    """The views of a picture, or why it cannot be read."""
    try:
        return future.result()
    except DereflError as error:
        return error


def no_stamps(n: int) -> Stamps:
    """The stamps of codes without files."""
    return np.full((n, 2), -1, np.int64)


def stamp(path: Path) -> tuple[int, ...]:
    """File size in bytes and time of change in ns; empty if the file is gone."""
    try:
        status = path.stat()
    except OSError:
        return ()
    return status.st_size, status.st_mtime_ns
