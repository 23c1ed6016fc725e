"""Publish a checkpoint on the Hub: write a folder, upload, load it back, record the commit."""

import json
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub.utils import validate_repo_id
from msgspec.structs import asdict, replace

from derefl.errors import (
    CheckpointError,
    DereflError,
    ManifestError,
    OutputError,
    OutputExistsError,
    PublishError,
)
from derefl.zoo.card import model_card
from derefl.zoo.checkpoint import file_sha256
from derefl.zoo.header import read_header
from derefl.zoo.hub import CONFIG_FILE, download, upload
from derefl.zoo.locate import WEIGHTS_FILE, Located, locate
from derefl.zoo.manifest import HubCommit, Manifest, list_models, read_manifest, write_manifest

CARD_FILE = "README.md"
FILES = (WEIGHTS_FILE, CONFIG_FILE, CARD_FILE)
"""The uploaded files, and the files in a folder of ``--dry-run``."""

Load = Callable[..., Any]
"""A ``load_*`` function."""


@dataclass(frozen=True)
class Release:
    """A checkpoint that can be published.

    Attributes:
        name: name of the model, for the card.
        found: location of the checkpoint; its entry is None if the model is not in the manifest.
        header: header of the checkpoint.
        card: text of ``README.md``.
    """

    name: str
    found: Located
    header: dict[str, Any]
    card: str


def prepare_release(source: str, repo: str) -> Release:
    """Find a checkpoint and make its card; no file is changed.

    Args:
        source: a name of the manifest, a ``.safetensors`` file, or a folder. A ``README.md`` in the
            folder is used as the card, unchanged.
        repo: the Hub repo id for the checkpoint.
    """
    try:
        validate_repo_id(repo)
        _, repo_name = repo.split("/")
    except ValueError as error:  # HFValidationError is a ValueError
        raise PublishError(
            f"got the repo {repo!r}, expected ORG/NAME; write --repo ORG/NAME"
        ) from error
    is_name = source in {entry.name for entry in list_models()}
    # Use a Path, because a string could mean a repo id, which is published already.
    found = locate(source if is_name else Path(source))
    header = read_header(found.weights, found.config_file)
    sha256 = file_sha256(found.weights)
    if found.sha256 not in (None, sha256):
        raise CheckpointError(
            f"{found.weights} has the sha256 {sha256}, but the manifest lists {found.sha256}: put "
            f"the checkpoint in with python examples/tools/bundle.py FILE {source}, then publish"
        )
    name = found.entry.name if found.entry else repo_name
    card = model_card(header, found.entry, name, repo)
    own_card = Path(source) / CARD_FILE
    if not is_name and own_card.is_file():
        card = own_card.read_text(encoding="utf-8", errors="replace")
    return Release(name, found, header, card)


def write_folder(release: Release, folder: Path) -> None:
    """Write :data:`FILES` into a new or empty folder."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise OutputExistsError(f"{folder} is not empty; choose a new or empty folder")
        shutil.copyfile(release.found.weights, folder / WEIGHTS_FILE)
        config = json.dumps(release.header, indent=2, ensure_ascii=False) + "\n"
        (folder / CONFIG_FILE).write_text(config, encoding="utf-8")
        (folder / CARD_FILE).write_text(release.card, encoding="utf-8")
    except OSError as error:
        raise PublishError(
            f"the folder {folder} cannot be written ({error}); choose another"
        ) from error


def publish(
    release: Release,
    repo: str,
    load: Load,
    *,
    message: str,
    private: bool = False,
    token: str | None = None,
    manifest: Path | None = None,
) -> HubCommit:
    """Upload a release, load it from the Hub again, and write its commit into a manifest.

    Args:
        release: from :func:`prepare_release`.
        repo: a Hub repo id.
        load: the ``load_*`` function of the release's kind; called with the folder and the repo.
        message: commit message.
        private: see :func:`~derefl.zoo.hub.upload`.
        token: see :func:`~derefl.zoo.hub.upload`.
        manifest: the manifest to update; None for no update.

    Raises:
        CheckpointError: the checkpoint cannot be loaded; nothing was uploaded.
        ManifestError: the manifest does not list these weights (nothing was uploaded), or it cannot
            be written; the message contains the text to add by hand.
        PublishError: the upload failed, or the downloaded files differ from the uploaded files.
    """
    content = manifest_with(manifest, release) if manifest else None
    with tempfile.TemporaryDirectory() as temporary:
        folder, cache = Path(temporary, "folder"), Path(temporary, "cache")
        write_folder(release, folder)
        load(folder)
        commit = upload(folder, repo, release.header["kind"], message, private=private, token=token)
        try:
            for name in FILES:
                copy = download(repo, name, commit, cache_dir=cache, token=token)
                if file_sha256(copy) != file_sha256(folder / name):
                    raise CheckpointError(f"its {name} is another file")
            load(repo, revision=commit, cache_dir=cache, token=token)
        except DereflError as error:
            raise PublishError(
                f"{repo} was uploaded as commit {commit}, but cannot be loaded back: {error}. The "
                "manifest was not changed; run the same command again, or delete the repo"
            ) from error
    published = HubCommit(repo, commit)
    if manifest and content:
        for at, entry in enumerate(content.models):
            if entry.name == release.name:
                content.models[at] = replace(entry, where=replace(entry.where, hub=published))
        try:
            write_manifest(manifest, content)
        except OutputError as error:
            raise ManifestError(
                f"{repo} is published and was loaded back, but {error}. Add "
                f'"hub": {json.dumps(asdict(published))} to the entry in {manifest} by hand'
            ) from error
    return published


def manifest_with(manifest: Path, release: Release) -> Manifest:
    """Read a manifest and check that it lists the release's name and weights."""
    content = read_manifest(manifest)
    if any((e.name, e.sha256) == (release.name, release.found.sha256) for e in content.models):
        return content
    raise ManifestError(
        f"{manifest} does not list these weights as {release.name!r}; choose another --manifest, "
        "or leave it out"
    )
