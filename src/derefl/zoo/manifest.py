"""The list of models: ``weights_manifest.json``."""

import difflib
import json
import re
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from derefl.errors import ManifestError, ModelNotFoundError
from derefl.files import write_file

MANIFEST = "weights_manifest.json"

ENTRY: dict[str, Any] = {
    "name": r"[a-z0-9]+([.-][a-z0-9]+)*",
    "kind": r"[a-z]+(-[a-z]+)*",
    "config": dict,
    "file": r"[\w.-]+\.safetensors",
    "bytes": int,
    "sha256": r"[0-9a-f]{64}",
    "dtype": r"float16|bfloat16|float32",
    "parameters": int,
    "where": {
        "bundled": (None, r"weights/[\w.-]+\.safetensors"),
        "hub": (None, {"repo": r"[\w.-]+/[\w.-]+", "revision": r"[0-9a-f]{40}"}),
    },
    "licence": str,
    "training": dict,
    "scores": [dict],
}
"""The shape of an entry for :func:`misfit`: the part of ``manifest.schema.json`` that the reader
needs, and that keeps paths inside the package's folder."""

SCORE: dict[str, Any] = {"dataset": str, "protocol": str, "n": int, "command": str}


@dataclass(frozen=True)
class HubCommit:
    """A model repository on the Hub, pinned to one commit."""

    repo: str
    revision: str


@dataclass(frozen=True)
class Where:
    """Location of a model's weights; both None if unpublished.

    Attributes:
        bundled: path relative to the package, ``weights/derefl-small.safetensors``.
        hub: repository and commit.
    """

    bundled: str | None
    hub: HubCommit | None


@dataclass(frozen=True)
class ModelEntry:
    """A model of ``weights_manifest.json``; ``manifest.schema.json`` documents the fields."""

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
        """From an element of the manifest's ``models``, checked by :func:`read_manifest`."""
        hub = entry["where"]["hub"]
        where = Where(entry["where"]["bundled"], HubCommit(**hub) if hub else None)
        return cls(**{**entry, "where": where})


def list_models(kind: str | None = None) -> list[ModelEntry]:
    """All models of the manifest, or all of one kind, in the manifest's order."""
    entries = [ModelEntry.from_json(entry) for entry in read_manifest(manifest_file())["models"]]
    return [entry for entry in entries if kind in (None, entry.kind)]


def read_manifest(path: Path) -> dict[str, Any]:
    """The JSON of a manifest.

    Raises:
        ManifestError: the file cannot be read, or an entry is invalid.
    """
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ManifestError(
            f"{path} cannot be read as a manifest ({error}); reinstall derefl, or name another file"
        ) from error
    problem = misfit(manifest, {"format_version": int, "models": [ENTRY]})
    for entry in [] if problem else manifest["models"]:
        for score in entry["scores"]:
            metrics = dict.fromkeys(score.keys() - SCORE.keys(), (int, float))
            problem = problem or misfit(score, SCORE | metrics, f"a score of {entry['name']}")
    if problem:
        raise ManifestError(
            f"{path} is damaged: {problem}; reinstall derefl, or hold the file against "
            "derefl/zoo/manifest.schema.json"
        )
    return manifest


def write_manifest(path: Path, manifest: dict[str, Any]) -> None:
    """Write a manifest atomically."""
    text = json.dumps(manifest, indent=2, ensure_ascii=False) + "\n"
    write_file(path, text.encode())


def misfit(value: Any, shape: Any, where: str = "it") -> str | None:
    """The first problem of a JSON value, None if the value is valid.

    Args:
        value: the JSON.
        shape: a type; the pattern of a string; a tuple of alternatives; a list with the shape of
            each element; or an object with exactly these keys.
        where: name of the value in the message.
    """
    if isinstance(shape, tuple):
        problems = [misfit(value, one, where) for one in shape]
        return None if None in problems else problems[-1]
    if isinstance(shape, dict) and isinstance(value, dict):
        if value.keys() != shape.keys():
            return f"{where} has the keys {sorted(value)}, expected {sorted(shape)}"
        found = (misfit(value[key], shape[key], f"{key!r} of {where}") for key in shape)
        return next(filter(None, found), None)
    if isinstance(shape, list) and isinstance(value, list):
        found = (misfit(item, shape[0], f"element {i} of {where}") for i, item in enumerate(value))
        return next(filter(None, found), None)
    if isinstance(shape, str):
        fits = isinstance(value, str) and re.fullmatch(shape, value) is not None
    else:
        fits = value is shape or type(value) is shape
    if fits:
        return None
    names = {dict: "an object", list: "a list", int: "a whole number", str: "text"}
    kind = shape if isinstance(shape, type) else type(shape)
    expected = f"text like {shape}" if isinstance(shape, str) else names.get(kind, "null")
    return f"{where} is {repr(value)[:60]}, expected {expected}"


def find_model(name: str, kind: str | None = None) -> ModelEntry:
    """The manifest's entry with this name.

    Raises:
        ModelNotFoundError: there is no such entry, or its kind is not ``kind``.
    """
    for entry in list_models():
        if entry.name == name and kind in (None, entry.kind):
            return entry
        if entry.name == name:
            raise ModelNotFoundError(
                f"{name!r} is a model of kind {entry.kind!r}, expected one of kind {kind!r}. "
                f"{suggestion(name, kind)}"
            )
    raise ModelNotFoundError(f"there is no model named {name!r}. {suggestion(name, kind)}")


def suggestion(name: str, kind: str | None) -> str:
    """A suggestion for a ``name`` that is not in the manifest."""
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
    """The entry's weights in the installed package, None if not included."""
    if entry.where.bundled is None:
        return None
    path = package_folder() / entry.where.bundled
    return path if path.is_file() else None


def manifest_file() -> Path:
    """The manifest in the package or, in an editable install, at the repository's top level."""
    installed = package_folder() / MANIFEST
    return installed if installed.is_file() else package_folder().parents[1] / MANIFEST


def editable_manifest() -> Path | None:
    """The manifest of the clone in an editable install, None for an install from a wheel."""
    path = manifest_file()
    return None if path.is_relative_to(package_folder()) else path


def package_folder() -> Path:
    """The folder of the installed package."""
    return Path(str(files("derefl")))
