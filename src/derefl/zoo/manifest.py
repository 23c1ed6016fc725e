"""The list of models: ``weights_manifest.json``."""

import difflib
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from derefl.errors import ManifestError, ModelNotFoundError
from derefl.files import write_file

MANIFEST = "weights_manifest.json"

Text = Annotated[str, Meta(min_length=1)]
Count = Annotated[int, Meta(ge=1)]


class HubCommit(Struct, frozen=True, forbid_unknown_fields=True):
    """A model repository on the Hub at one commit; branches and tags can move."""

    repo: Annotated[str, Meta(pattern=r"^\w[\w.-]*/\w[\w.-]*$")]
    revision: Annotated[str, Meta(pattern=r"^[0-9a-f]{40}$")]


class Where(Struct, frozen=True, forbid_unknown_fields=True):
    """Location of a model's weights; both are None if the model is unpublished.

    Attributes:
        bundled: path relative to the package, ``weights/derefl-base.safetensors``.
        hub: repository and commit.
    """

    bundled: Annotated[str, Meta(pattern=r"^weights/[\w.-]+\.safetensors$")] | None
    hub: HubCommit | None


class Training(Struct):
    """The required fields of an entry's ``training``; more fields are allowed."""

    data: Annotated[list[str | dict[str, Any]], Meta(min_length=1)]
    steps: Count
    pictures: Count
    hours: Annotated[float, Meta(gt=0)]
    hardware: Text


class Score(Struct):
    """The required fields of a score; all other fields are metrics."""

    dataset: Text
    protocol: Text
    n: Count
    command: Text


class ModelEntry(Struct, frozen=True, forbid_unknown_fields=True):
    """A model of ``weights_manifest.json``.

    Attributes:
        name: the name for ``load_*``; it cannot look like a path or a Hub repo id.
        kind: the kind of model.
        config: the fields of the kind's config dataclass.
        file: file name of the weights.
        bytes: size of the file.
        sha256: of the file.
        dtype: of the stored floating-point tensors.
        parameters: number of parameters, without buffers.
        where: location of the weights.
        licence: licence of the weights.
        training: data and budget, with the fields of :class:`Training`; empty if unknown.
        scores: measurements, with the fields of :class:`Score` and metrics: ``psnr``, ``ssim``, …
    """

    name: Annotated[str, Meta(pattern=r"^[a-z0-9]+([.-][a-z0-9]+)*$")]
    kind: Literal["derefl", "lcdh-student", "lcdh-teacher"]
    config: dict[str, Any]
    file: Annotated[str, Meta(pattern=r"^[\w.-]+\.safetensors$")]
    bytes: Count
    sha256: Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$")]
    dtype: Literal["float16", "bfloat16", "float32"]
    parameters: Count
    where: Where
    licence: Text
    training: dict[str, Any]
    scores: list[dict[str, Any]]

    def __post_init__(self) -> None:
        """Check ``training`` and ``scores``, which may have more fields than a struct."""
        try:
            if self.training:
                msgspec.convert(self.training, Training)
            for score in self.scores:
                msgspec.convert(score, Score)
                metrics = {k: v for k, v in score.items() if k not in Score.__struct_fields__}
                msgspec.convert(metrics, Annotated[dict[str, int | float], Meta(min_length=1)])
        except msgspec.ValidationError as error:
            raise ValueError(f"training or scores of {self.name}: {error}") from error


class Manifest(Struct, frozen=True, forbid_unknown_fields=True):
    """The content of ``weights_manifest.json``; ``msgspec.json.schema(Manifest)`` is its schema."""

    format_version: Literal[1]
    models: list[ModelEntry]


def list_models(kind: str | None = None) -> list[ModelEntry]:
    """All models of the manifest, or all of one kind, in the manifest's order."""
    entries = read_manifest(manifest_file()).models
    return [entry for entry in entries if kind in (None, entry.kind)]


def read_manifest(path: Path) -> Manifest:
    """Read a manifest.

    Raises:
        ManifestError: the file cannot be read, or an entry is invalid.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=Manifest)
    except (OSError, ValueError, msgspec.DecodeError, RecursionError) as error:
        raise ManifestError(
            f"{path} is not a valid manifest: {error}. Reinstall derefl, or correct the file"
        ) from error


def write_manifest(path: Path, manifest: Manifest) -> None:
    """Write a manifest atomically."""
    write_file(path, msgspec.json.format(msgspec.json.encode(manifest)) + b"\n")


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
