"""Save a module and its config in one safetensors file, and load the file strictly."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from derefl.errors import CheckpointError
from derefl.files import write_file
from derefl.zoo.header import (
    METADATA_KEY,
    brief,
    checkpoint_header,
    damaged_file,
    read_header,
    refuse_pickle,
    some,
)
from derefl.zoo.manifest import list_models

Module = TypeVar("Module", bound=nn.Module)


def save_checkpoint(
    module: nn.Module,
    path: str | Path,
    *,
    kind: str,
    config: dict[str, Any],
    dtype: torch.dtype = torch.float16,
) -> None:
    """Write ``module``'s state dict and config to one ``.safetensors`` file, atomically.

    Args:
        kind: the kind of the model, for the ``load_*`` functions: ``derefl``, ``lcdh-student``, …
        config: the fields of the config dataclass, JSON values; tuples are allowed.
        dtype: dtype of the stored floating-point tensors; integer buffers keep their dtype.

    Raises:
        CheckpointError: a value is too large for ``dtype``.
    """
    tensors = {name: stored(name, t, dtype) for name, t in module.state_dict().items()}
    metadata = {METADATA_KEY: json.dumps(checkpoint_header(kind, config))}
    write_file(path, save(tensors, metadata))


def stored(name: str, tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """A copy for the file; a floating-point tensor is converted to ``dtype``."""
    copy = tensor.detach().cpu().clone().contiguous()
    if not copy.is_floating_point():
        return copy
    cast = copy.to(dtype)
    if (cast.isfinite() != copy.isfinite()).any():
        raise CheckpointError(
            f"{name} has values up to {copy.abs().max():.3g}, expected at most "
            f"{torch.finfo(dtype).max:.3g} for {dtype}: save with dtype=torch.float32"
        )
    return cast


def load_checkpoint(
    path: str | Path,
    *,
    kind: str,
    build: Callable[[dict[str, Any]], Module],
    config_file: str | Path | None = None,
    sha256: str | None = None,
    device: str | torch.device | None = None,
    dtype: torch.dtype | None = None,
) -> Module:
    """Build the module that a file describes and load the file's weights strictly.

    Args:
        path: a safetensors file.
        kind: the expected kind of the file.
        build: makes a module with any weights from a config (JSON values, lists as tuples).
        config_file: the ``config.json`` of the file's folder; must agree with the file.
        sha256: the expected sha256 of the file, if known.
        device: device of the module; None means the device that ``build`` chose.
        dtype: dtype of the module's floating-point tensors; None means float32.

    Returns:
        The module in ``eval()`` mode. torch's random state is unchanged.

    Raises:
        ModelNotFoundError: there is no such file.
        CheckpointError: the file is a pickle, is damaged, has another kind, or does not fit its
            config.
    """
    path = Path(path)
    refuse_pickle(path)
    if sha256 is not None and (got := file_sha256(path)) != sha256:
        raise CheckpointError(
            f"{path} has the sha256 {got}, expected {sha256}: it is damaged or another file. "
            f"Delete {path.resolve()} and load the model again, or reinstall derefl if it came "
            "with the file"
        )
    header = read_header(path, config_file)
    if header["kind"] != kind:
        raise CheckpointError(
            f"{path} holds a model of kind {header['kind'][:40]!r}, expected {kind!r}: "
            "choose another model; `derefl models` lists them with their kinds"
        )
    config = header["config"]
    trusted = any(sizes(entry.config) == sizes(config) for entry in list_models())
    module = built(config, build, read_tensors(path), path, trusted=trusted)
    return module.to(device=device, dtype=dtype or torch.float32).eval()


def sizes(config: dict[str, Any]) -> dict[str, Any]:
    """The fields of a config that the sizes of its network depend on."""
    return {name: value for name, value in config.items() if name not in ("mean", "std")}


def built(
    config: dict[str, Any],
    build: Callable[[dict[str, Any]], Module],
    tensors: dict[str, Tensor],
    path: Path,
    *,
    trusted: bool,
) -> Module:
    """Build the module of a config and load the whole state dict; ``path`` is for messages.

    ``trusted`` means that a listed model has the same sizes.
    """
    try:
        # Only the CPU generator, because initial weights are drawn on the CPU.
        with torch.random.fork_rng(devices=[]):
            if not trusted:
                # A config can describe a model of any size; the meta device needs no memory.
                with torch.device("meta"):
                    check_fit(build(tuples(config)), tensors, path)
            module = build(tuples(config))
    except CheckpointError:
        raise
    except Exception as error:
        raise CheckpointError(
            f"{path} has a config that this version of derefl cannot build: {brief(error)}. If the "
            "file is newer than your derefl: pip install --upgrade derefl"
        ) from error
    check_fit(module, tensors, path)
    module.load_state_dict(tensors, strict=True)
    return module


def check_fit(module: nn.Module, tensors: dict[str, Tensor], path: Path) -> None:
    """The checks of ``load_state_dict(strict=True)``, with a short error message."""
    if problems := misfits(module, tensors):
        raise CheckpointError(
            f"{path} does not hold the weights of its own config; {problems}. Its "
            "config and weights come from different models: save it again with save_checkpoint"
        )


def misfits(module: nn.Module, tensors: dict[str, Tensor]) -> str:
    """The differences between these weights and a module's, in one line; empty if none."""
    expected = module.state_dict()
    problems = []
    if missing := expected.keys() - tensors.keys():
        problems.append(f"missing: {some(missing)}")
    if unexpected := tensors.keys() - expected.keys():
        problems.append(f"unexpected: {some(unexpected)}")
    shapes = [
        f"{name} {list(tensors[name].shape)} for {list(tensor.shape)}"
        for name, tensor in expected.items()
        if name in tensors and tensors[name].shape != tensor.shape
    ]
    if shapes:
        problems.append(f"shapes: {some(shapes)}")
    return "; ".join(problems)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """All tensors of a safetensors file."""
    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise damaged_file(path, error) from error


def file_sha256(path: str | Path) -> str:
    """The sha256 of a file as 64 hexadecimal digits."""
    digest = hashlib.sha256()
    with Path(path).open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def tuples(value: Any) -> Any:
    """JSON with all lists as tuples, as frozen config dataclasses need them."""
    if isinstance(value, dict):
        return {key: tuples(item) for key, item in value.items()}
    return tuple(map(tuples, value)) if isinstance(value, list) else value
