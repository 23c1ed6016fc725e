"""The header of a checkpoint, and errors for unreadable checkpoints."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from derefl.errors import CheckpointError, ModelNotFoundError

FORMAT_VERSION = 1
"""Increased when older versions of derefl can no longer read new files."""

CONFIG_BYTES = 1 << 20
"""Largest size of a ``config.json``; a real file has a few hundred bytes."""

METADATA_KEY = "derefl"
"""The safetensors metadata entry with the same JSON as a folder's ``config.json``."""

PICKLE_SUFFIXES = {".pt", ".pth", ".ckpt", ".bin", ".pkl", ".pickle"}


def checkpoint_header(kind: str, config: dict[str, Any]) -> dict[str, Any]:
    """The header of a checkpoint, for its metadata and ``config.json``."""
    return {"format_version": FORMAT_VERSION, "kind": kind, "config": config}


def read_header(path: str | Path, config_file: str | Path | None = None) -> dict[str, Any]:
    """``format_version``, ``kind`` and ``config``, from a checkpoint's metadata and config.json.

    Raises:
        ModelNotFoundError: there is no such file.
        CheckpointError: there is no header, metadata and config.json differ, or this version
            cannot read the file.
    """
    headers = []
    if (text := read_metadata(Path(path)).get(METADATA_KEY)) is not None:
        headers.append(parse_header(text, f"the metadata of {path}"))
    if config_file is not None:
        headers.append(parse_header(config_bytes(Path(config_file)), str(config_file)))
    if not headers:
        raise CheckpointError(
            f"{path} does not say which model it is: expected derefl metadata in the file or a "
            "config.json beside it in a folder. Save it with derefl.zoo.save_checkpoint"
        )
    if differing := difference(headers[0], headers[-1]):
        raise CheckpointError(
            f"{config_file} and the metadata of {path} disagree on {some(differing)}: they come "
            "from different models. Remove config.json (the file carries its own) or the weights"
        )
    return headers[0]


def config_bytes(path: Path) -> bytes:
    """The bytes of a ``config.json``; a too long file is refused."""
    try:
        with path.open("rb") as file:
            text = file.read(CONFIG_BYTES + 1)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read ({error}); get it again") from error
    if len(text) > CONFIG_BYTES:
        raise CheckpointError(
            f"{path} has more than {CONFIG_BYTES:,} bytes, expected a config of a few hundred: "
            "remove it (the weights carry their own), or get it again"
        )
    return text


def parse_header(text: str | bytes, where: str) -> dict[str, Any]:
    """Parse a header from JSON and check the fields that all kinds share."""
    try:
        header = json.loads(text)
        version, kind, config = header["format_version"], header["kind"], {**header["config"]}
        if not isinstance(kind, str):
            raise TypeError("kind is not text")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise CheckpointError(
            f"{where} is not a derefl header ({type(error).__name__}: {brief(error)}), expected a "
            "JSON object with format_version, kind and config. Save the model with "
            "derefl.zoo.save_checkpoint"
        ) from error
    if version != FORMAT_VERSION:
        raise CheckpointError(
            f"{where} has format version {repr(version)[:20]}, expected {FORMAT_VERSION}: it was "
            "made by another version of derefl. Upgrade with: pip install --upgrade derefl"
        )
    return checkpoint_header(kind, config)


def difference(one: dict[str, Any], other: dict[str, Any]) -> set[str]:
    """Names of the entries that differ between two headers."""
    a, b = ({**header["config"], "(kind)": header["kind"]} for header in (one, other))
    return {key for key in a | b if a.get(key, ...) != b.get(key, ...)}


def read_metadata(path: Path) -> dict[str, str]:
    """The safetensors metadata of a file."""
    refuse_pickle(path)
    try:
        with safe_open(path, framework="pt") as file:
            return file.metadata() or {}
    except (SafetensorError, OSError, ValueError) as error:
        raise damaged_file(path, error) from error


def refuse_pickle(path: Path) -> None:
    """Raise CheckpointError for a pickle of any name, because loading a pickle can run any code."""
    if not path.is_file():
        raise ModelNotFoundError(f"there is no file {path}, expected a .safetensors file")
    with path.open("rb") as file:
        head = file.read(9)
    # A safetensors file starts with 8 bytes of length (any values), then a brace.
    if head[8:] == b"{":
        return
    if path.suffix.lower() in PICKLE_SUFFIXES or head.startswith((b"PK\x03\x04", b"\x80")):
        raise CheckpointError(
            f"{path} is a pickle, which can run any code when it is opened: only safetensors are "
            "loaded. If you trust it, convert it once: fill a module from torch.load(path, "
            "weights_only=True), then derefl.zoo.save_checkpoint(module, 'model.safetensors', "
            "kind=…, config=…)"
        )


def damaged_file(path: Path, error: Exception) -> CheckpointError:
    """The error for a file that safetensors cannot read."""
    return CheckpointError(
        f"{path} is not a complete safetensors file ({path.stat().st_size} bytes; {brief(error)}). "
        f"Copy it again; if it was downloaded, delete {path.resolve()} and load the model again"
    )


def brief(error: Exception, limit: int = 300) -> str:
    """An error's message in one line of at most ``limit`` characters."""
    text = " ".join(str(error).split())
    return text if len(text) <= limit else f"{text[:limit]}…"


def some(names: Iterable[str], limit: int = 3) -> str:
    """The first few names in order, and the number of further names."""
    names = sorted(names)
    rest = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + rest
