"""Indexes of photo folders: find new and deleted photos, make their ids."""

import os
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from derefl.errors import ConfigError, DereflError, HashIndexError, OutputExistsError
from derefl.files import check_output
from derefl.hashing.index.base import MODEL
from derefl.hashing.index.database import replace
from derefl.hashing.index.encoding import Added, Progress
from derefl.hashing.index.hash_index import HashIndex
from derefl.imaging.folders import find_pictures

LENGTH = 64
"""The code length of a new index."""

UNFINISHED = "unfinished"
"""The key in ``extra`` of an unfinished index."""


class FolderIndex:
    """The file with the index of some photos; ``run`` makes the file or brings it up to date.

    A finished index is only replaced when the new index is finished. Until then the new index is in
    a second file beside it, ``NAME.part``. After an interruption, the same call continues.

    Args:
        inputs: photos and folders.
        output: the file. Ids are paths relative to its folder if the photo is inside, else
            absolute.
        exclude: as in :func:`~derefl.imaging.folders.find_pictures`.
        bits: length of the codes; None: :data:`LENGTH`, or that of the index to update.
        model: as for ``load_lcdh_student``; None: :data:`MODEL`, or that of the index to update.
        device: of the model.
        update: encode only photos that are new or changed, and drop photos that are gone.
        overwrite: replace the file.

    Attributes:
        index: the index in memory.
        target: its file during ``run``.
        failures: why folders could not be searched.
        passed_over: files without the suffix of a picture.

    Raises:
        OutputExistsError: the file exists, and neither ``update`` nor ``overwrite`` is set.
        OutputError: the file cannot be written.
        ImageError: an input does not exist or has no pictures.
        HashIndexError: the index to update is damaged, or of another model.
        ConfigError: the index to update has another code length.
    """

    def __init__(
        self,
        inputs: Collection[Path],
        output: Path,
        *,
        exclude: str | Sequence[str] = (),
        bits: int | None = None,
        model: str | None = None,
        device: str | None = None,
        update: bool = False,
        overwrite: bool = False,
    ) -> None:
        check_output(output, overwrite=True)
        asked = (bits or LENGTH, portable_name(model or MODEL))
        self.output = output
        self.target, index = open_target(output, update, overwrite, asked)
        home = absolute(output).parent
        closed: list[OSError] = []
        self.passed_over: set[Path] = set()
        found = find_pictures(
            inputs, exclude=exclude, unreadable=closed.append, passed_over=self.passed_over.add
        )
        self.paths = {photo_id(path, home): path for path, _ in found}

        if index is None:
            index = HashIndex(*asked)
            index.load_hasher(model or MODEL, device)
            index.sha256 = index.hasher.sha256
        elif bits not in (None, index.bits):
            raise ConfigError(
                f"{output} has codes of {index.bits} bits, got --bits {bits}; leave --bits out, or "
                "make the index again with --overwrite"
            )
        else:
            index.load_hasher(model, device)
        self.index = index
        folders = [Path(error.filename) for error in closed]
        self.drop, unknown = missing(self.index, self.paths, inputs, home, folders)
        self.failures = [*map(unsearchable, folders, closed), *unknown]

    def run(self, progress: Progress = False) -> Added:
        """Encode, and save batch by batch; ``progress`` as in ``HashIndex.add_pictures``."""
        self.index.remove(self.drop)
        self.index.extra[UNFINISHED] = True
        result = self.index.add_pictures(self.paths, save_to=self.target, progress=progress)
        del self.index.extra[UNFINISHED]
        self.index.save(self.target)
        if self.target != self.output:
            replace(self.target, self.output)
        return result


def open_target(
    output: Path, update: bool, overwrite: bool, asked: tuple[int, str]
) -> tuple[Path, HashIndex | None]:
    """The file to write, and the index to continue; ``asked`` are the code length and model."""
    if update and output.exists():
        return output, HashIndex.load(output, verify=True)
    target, index = output, unfinished(output)
    if index is None and output.exists():
        if not overwrite:
            raise OutputExistsError(
                f"{output} already exists; add --update to bring it up to date, --overwrite to "
                "replace it, or choose another name"
            )
        target = output.with_name(f"{output.name}.part")
        index = unfinished(target)
    if index is not None and overwrite and (index.bits, index.model) != asked:
        index = None
    return target, index


def unfinished(path: Path) -> HashIndex | None:
    """The index of an interrupted call in a file."""
    try:
        index = HashIndex.load(path, verify=True)
    except HashIndexError:
        return None
    return index if UNFINISHED in index.extra else None


def missing(
    index: HashIndex,
    paths: Collection[str],
    inputs: Collection[Path],
    home: Path,
    closed: list[Path],
) -> tuple[list[str], list[DereflError]]:
    """The ids below the inputs whose pictures are gone, and folders where this is unknown.

    Args:
        index: the index to update.
        paths: ids of all pictures that were found.
        inputs: files and folders that were searched.
        home: the folder that ids are relative to, absolute.
        closed: folders in the inputs that cannot be searched; they give no further errors.
    """
    places = [absolute(path) for path in inputs]
    unknown = {absolute(path) for path in closed}
    dropped: list[str] = []
    errors: list[DereflError] = []
    for id in index.ids:
        path = home / str(id)
        if isinstance(id, int) or id in paths or not any(map(path.is_relative_to, places)):
            continue
        try:
            if is_gone(path):
                dropped.append(id)
        except OSError as error:
            if not any(map(path.is_relative_to, unknown)):
                unknown.add(path.parent)
                errors.append(unsearchable(path.parent, error))
    return dropped, errors


def is_gone(path: Path) -> bool:
    """Whether a file no longer exists; an OSError if this cannot be found out."""
    try:
        path.stat()
        return False
    except (FileNotFoundError, NotADirectoryError):
        if path.is_symlink():
            raise
    folder = next(folder for folder in path.parents if os.path.lexists(folder))
    os.scandir(folder).close()
    return True


def unsearchable(folder: Path, error: OSError) -> DereflError:
    """The error for a folder that cannot be searched during an update."""
    return HashIndexError(
        f"{folder} cannot be searched: {error.strerror}; its photos are neither added to the index "
        "nor dropped from it"
    )


def portable_name(model: str) -> str:
    """A model name with which ``derefl search`` finds the model from any folder."""
    from derefl.zoo import list_models

    is_name = model in {entry.name for entry in list_models()}
    return model if is_name or not Path(model).exists() else str(absolute(Path(model)))


def absolute(path: Path) -> Path:
    """The path without links and dots in its folders; a picture that is a link is not resolved."""
    is_folder = os.path.isdir(path)  # noqa: PTH112 (Path's raises where a folder may not be read)
    return path.resolve() if is_folder else path.parent.resolve() / path.name


def photo_id(path: Path, home: Path) -> str:
    """A picture's id: its path relative to ``home`` if the picture is inside, else absolute.

    ``home`` is absolute, also in the next two functions.
    """
    full = absolute(path)
    return (full.relative_to(home) if full.is_relative_to(home) else full).as_posix()


def photo_path(id: int | str, home: Path) -> Path:
    """The path of an id: relative to the working folder if the picture is inside, else absolute."""
    path, here = home / str(id), Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


def inside(folder: Path, home: Path) -> Callable[[int | str], bool]:
    """A function that tells whether the photo of an id is in a folder or its subfolders."""
    join = os.path.join  # Path takes seconds for a million photos
    start, base = (join(path.as_posix(), "") for path in (absolute(folder), home))
    return lambda id: join(base, str(id)).startswith(start)
