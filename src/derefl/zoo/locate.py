"""Find the checkpoint file for a model name, path or Hub repo."""

import os
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from derefl.errors import ConfigError, DownloadError, ModelNotFoundError
from derefl.zoo import hub
from derefl.zoo.header import PICKLE_SUFFIXES, refuse_pickle
from derefl.zoo.hub import CONFIG_FILE
from derefl.zoo.manifest import ModelEntry, bundled_file, find_model, list_models

WEIGHTS_FILE = "model.safetensors"
WEIGHT_SUFFIXES = PICKLE_SUFFIXES | {".safetensors"}

REPO_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+", re.ASCII)
Download = Callable[[str, str, str | None], Path]


@dataclass(frozen=True)
class Located:
    """A checkpoint on this machine.

    Attributes:
        weights: the safetensors file.
        config_file: the ``config.json`` beside the weights in a folder or Hub repo, if any.
        sha256: the expected sha256 of the weights, None if unknown.
        entry: the manifest's entry, if the source is a model name.
    """

    weights: Path
    config_file: Path | None = None
    sha256: str | None = None
    entry: ModelEntry | None = None


def locate(
    source: str | Path,
    *,
    kind: str | None = None,
    revision: str | None = None,
    cache_dir: str | Path | None = None,
    token: str | bool | None = None,
    local_files_only: bool = False,
    force_download: bool = False,
) -> Located:
    """Find a checkpoint and download it if necessary. The first match counts:

    1. A model name of the manifest: the bundled file, else its Hub commit. A name has priority over
       a file or folder with the same name. For the file or folder, write ``./derefl-base`` or use
       a :class:`~pathlib.Path`.
    2. A file or folder that exists. A :class:`~pathlib.Path` always means a file or folder.
    3. A Hub repo id ``org/name``.

    Args:
        source: a name, path or repo id. Folders and Hub repos contain ``model.safetensors`` and
            ``config.json``.
        kind: the expected kind of a model name; None allows all kinds.
        revision: branch, tag or commit on the Hub. With a revision, a model that has a Hub repo is
            loaded from the repo even if the model is bundled. Only the listed commit has a known
            sha256.
        cache_dir: a download option of huggingface_hub, like the next three; ignored for a bundled
            or local file.
        token: see ``cache_dir``.
        local_files_only: see ``cache_dir``.
        force_download: see ``cache_dir``.

    Raises:
        ModelNotFoundError: no such name, file, folder, repository or revision.
        ConfigError: a revision for a source that is not on the Hub.
        CheckpointError: a folder that contains only pickles.
        DownloadError: the download failed or was refused.
    """
    download: Download = partial(
        hub.download,
        cache_dir=cache_dir,
        token=token,
        local_files_only=local_files_only,
        force_download=force_download,
    )
    if source in {entry.name for entry in list_models()}:
        return locate_entry(find_model(str(source), kind), revision, download)
    path = expanded(source)
    if path.exists():
        refuse_revision(revision, f"{source} is a local {'folder' if path.is_dir() else 'file'}")
        return locate_folder(path) if path.is_dir() else Located(path)
    if isinstance(source, Path) or looks_local(source):
        raise ModelNotFoundError(
            f"there is no file or folder {source}, expected a .safetensors file or a folder with "
            f"{WEIGHTS_FILE} and {CONFIG_FILE}: check the path (now in {Path.cwd()})"
        )
    if "/" in source:
        return locate_repo(source, revision, download)
    # The name is not in the manifest, so this raises an error that lists the known names.
    return locate_entry(find_model(source, kind), revision, download)


def locate_entry(entry: ModelEntry, revision: str | None, download: Download) -> Located:
    """The weights of a manifest entry, if possible without a download."""
    bundled = bundled_file(entry)
    if bundled is not None and revision is None:
        return Located(bundled, sha256=entry.sha256, entry=entry)
    if entry.where.hub is None:
        refuse_revision(revision, f"{entry.name!r} is not on the Hub")
        if entry.where.bundled is None:
            raise ModelNotFoundError(
                f"the weights of {entry.name!r} are not published yet: choose another model, or "
                "give the path of a file that you have"
            )
        raise ModelNotFoundError(
            f"{entry.where.bundled} of {entry.name!r} is missing from this installation: reinstall "
            "with pip install --force-reinstall derefl"
        )
    listed = revision in (None, entry.where.hub.revision)
    found = locate_repo(entry.where.hub.repo, revision or entry.where.hub.revision, download)
    return replace(found, entry=entry, sha256=entry.sha256 if listed else None)


def locate_folder(folder: Path) -> Located:
    """The checkpoint in a local folder with the layout of a Hub repo."""
    weights, config = folder / WEIGHTS_FILE, folder / CONFIG_FILE
    if weights.is_file():
        return Located(weights, config if config.is_file() else None)
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in PICKLE_SUFFIXES and path.is_file():
            refuse_pickle(path)
    raise ModelNotFoundError(
        f"the folder {folder} has no {WEIGHTS_FILE}, expected {WEIGHTS_FILE} and {CONFIG_FILE}: "
        "give another folder, or the path of a .safetensors file itself"
    )


def locate_repo(repo: str, revision: str | None, download: Download) -> Located:
    """The checkpoint in a Hub repository; both files come from the same commit."""
    weights = download(repo, WEIGHTS_FILE, revision)
    commit = weights.parent.name
    try:
        return Located(weights, download(repo, CONFIG_FILE, commit))
    except (ModelNotFoundError, DownloadError):
        # config.json only repeats the metadata of the weights, and may be missing.
        return Located(weights)


def expanded(source: str | Path) -> Path:
    """The path with ``~`` expanded, if the user exists."""
    return Path(os.path.expanduser(source))  # noqa: PTH111 (Path.expanduser may raise an error)


def looks_local(source: str) -> bool:
    """Whether a string that is neither a model name nor an existing path looks like a path."""
    path = Path(source)
    if path.suffix.lower() in WEIGHT_SUFFIXES:
        return True
    separated = "/" in source or "\\" in source
    return bool(not REPO_ID.fullmatch(source) if separated else path.suffix or source[:1] in ".~")


def refuse_revision(revision: str | None, reason: str) -> None:
    """Raise ConfigError if a revision is given for a source without revisions."""
    if revision is not None:
        raise ConfigError(
            f"got revision={revision!r}, but {reason}: leave revision out, or give a Hub repo id "
            "'org/name'"
        )
