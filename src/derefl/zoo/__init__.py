"""Load a module from a model name, file, folder or Hub repo; independent of the model kind."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from derefl.errors import ConfigError
from derefl.zoo.checkpoint import Module, file_sha256, load_checkpoint, save_checkpoint
from derefl.zoo.header import FORMAT_VERSION, checkpoint_header, read_header
from derefl.zoo.locate import Located, locate
from derefl.zoo.manifest import ModelEntry, find_model, list_models

__all__ = [
    "FORMAT_VERSION",
    "Located",
    "ModelEntry",
    "checkpoint_header",
    "file_sha256",
    "find_model",
    "list_models",
    "load_checkpoint",
    "load_model",
    "locate",
    "read_header",
    "save_checkpoint",
]

DTYPES = {str(t).removeprefix("torch."): t for t in (torch.float32, torch.float16, torch.bfloat16)}


def load_model(
    source: str | Path,
    *,
    kind: str,
    build: Callable[[dict[str, Any]], Module],
    device: str | torch.device | None = None,
    dtype: str | torch.dtype | None = None,
    **download: Any,
) -> Module:
    """Load a checkpoint strictly and return the module in ``eval()`` mode.

    Args:
        source: see :func:`locate`.
        kind: the expected kind of the checkpoint.
        build: makes a module with any weights from a config (JSON values, lists as tuples).
        device: device of the module; None means the device that ``build`` chose.
        dtype: ``float32``, ``float16`` or ``bfloat16``; None means float32.
        download: the options of :func:`locate`: ``revision``, ``cache_dir``, …

    Raises:
        ModelNotFoundError: no such name, file, folder, repository or revision.
        DownloadError: the download failed or was refused.
        CheckpointError: the file is a pickle, is damaged, has another kind, or does not fit its
            config.
        ConfigError: an option is invalid.
    """
    # Check before the download, so that a typo does not cost a download.
    dtype = parse_dtype(dtype)
    check_device(device)
    found = locate(source, kind=kind, **download)
    return load_checkpoint(
        found.weights,
        kind=kind,
        build=build,
        config_file=found.config_file,
        sha256=found.sha256,
        device=device,
        dtype=dtype,
    )


def parse_dtype(dtype: str | torch.dtype | None) -> torch.dtype | None:
    """A supported dtype, given as a dtype or by name."""
    parsed = DTYPES.get(dtype) if isinstance(dtype, str) else dtype
    if dtype is not None and parsed not in DTYPES.values():
        raise ConfigError(f"got dtype={dtype!r}, expected one of {', '.join(DTYPES)}")
    return parsed


def check_device(device: str | torch.device | None) -> None:
    """Raise ConfigError if tensors cannot be created on the device."""
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(
            f"got device={str(device)!r}, expected one that this machine has, such as 'cpu', "
            f"'cuda', 'cuda:1' or 'mps': {error}"
        ) from error
