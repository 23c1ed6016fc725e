"""The one list of models: ``weights_manifest.json``."""

import difflib
import json
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from derefl.errors import ModelNotFoundError

MANIFEST = "weights_manifest.json"


@dataclass(frozen=True)
class HubCommit:
    """A model repository on the Hub, pinned to one commit."""

    repo: str
    revision: str


@dataclass(frozen=True)
class Where:
    """Where a model's weights lie; both None: unpublished.

    Attributes:
        bundled: path relative to the package, ``weights/derefl-small.safetensors``.
        hub: repository and commit.
    """

    bundled: str | None
    hub: HubCommit | None


@dataclass(frozen=True)
class ModelEntry:
    """A model of ``weights_manifest.json``; ``manifest.schema.json`` explains the fields."""

    name: str
    kind: str
    config: dict[str, Any]
    file: str
    bytes: int
    sha256: str
    dtype: str
    parameters: int
    where: Where
    licence: str
    training: dict[str, Any]
    scores: list[dict[str, Any]]

    @classmethod
    def from_json(cls, entry: dict[str, Any]) -> "ModelEntry":
        """One element of the manifest's ``models``."""
        hub = entry["where"]["hub"]
        where = Where(entry["where"]["bundled"], HubCommit(**hub) if hub else None)
        return cls(**{**entry, "where": where})


def list_models(kind: str | None = None) -> list[ModelEntry]:
    """Every model of the manifest, or those of one kind, in the manifest's order."""
    manifest = json.loads(manifest_file().read_text(encoding="utf-8"))
    entries = [ModelEntry.from_json(entry) for entry in manifest["models"]]
    return [entry for entry in entries if kind in (None, entry.kind)]


def find_model(name: str, kind: str | None = None) -> ModelEntry:
    """The manifest's entry of that name.

    Raises:
        ModelNotFoundError: there is none, or it is of another kind than ``kind``.
    """
    for entry in list_models():
        if entry.name == name and kind in (None, entry.kind):
            return entry
        if entry.name == name:
            raise ModelNotFoundError(
                f"{name!r} is a model of kind {entry.kind!r}, expected one of kind {kind!r}: "
                f"use the load_* function of that kind. {suggestion(name, kind)}"
            )
    raise ModelNotFoundError(f"there is no model named {name!r}. {suggestion(name, kind)}")


def suggestion(name: str, kind: str | None) -> str:
    """What to type instead of ``name``, which is not in the manifest."""
    names = [entry.name for entry in list_models(kind) if entry.name != name]
    if close := difflib.get_close_matches(name, names):
        return f"Did you mean {' or '.join(map(repr, close))}?"
    of_kind = f" of kind {kind!r}" if kind else ""
    listed = ", ".join(map(repr, names)) or "none"
    return (
        f"Models{of_kind} in this version of derefl: {listed}. A local .safetensors file, a local "
        "folder and a Hub repo id 'org/name' work too"
    )


def bundled_file(entry: ModelEntry) -> Path | None:
    """The entry's weights inside the installed package, None if they did not come with it."""
    if entry.where.bundled is None:
        return None
    path = package_folder() / entry.where.bundled
    return path if path.is_file() else None


def manifest_file() -> Path:
    """The manifest in the package or, in an editable install, at the repository's top level."""
    installed = package_folder() / MANIFEST
    return installed if installed.is_file() else package_folder().parents[1] / MANIFEST


def package_folder() -> Path:
    """The folder of the installed package."""
    return Path(str(files("derefl")))
