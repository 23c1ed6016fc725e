"""The state of a training run in one safetensors file, to resume the run."""

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor, nn
from torch.optim import AdamW

from derefl.errors import CheckpointError, ConfigError
from derefl.files import write_file
from derefl.zoo.checkpoint import misfits


@dataclass(frozen=True)
class Progress:
    """Steps done, seconds spent on them, and the best validation so far."""

    step: int = 0
    seconds: float = 0.0
    best: float = -math.inf


def start_from(model: nn.Module, start: nn.Module) -> None:
    """Copy the weights of ``start`` into ``model``.

    Raises:
        ConfigError: the architectures differ.
    """
    weights = start.state_dict()
    if problems := misfits(model, weights):
        raise ConfigError(
            f"the weights to start from do not fit [model] of the config; {problems}: expected a "
            "checkpoint of the same model config; choose another --start or --config"
        )
    model.load_state_dict(weights, strict=True)


def save_state(
    path: Path, model: nn.Module, average: nn.Module, optimiser: AdamW, progress: Progress
) -> None:
    """Write weights, average, optimiser moments, torch's RNG and the progress, atomically."""
    tensors = {f"model/{k}": v for k, v in model.state_dict().items()}
    tensors |= {f"ema/{k}": v for k, v in average.state_dict().items()}
    names = parameter_names(model, optimiser)
    for index, moments in optimiser.state_dict()["state"].items():
        tensors |= {f"adam/{names[index]}/{key}": value for key, value in moments.items()}
    tensors["rng"] = torch.get_rng_state()
    tensors = {k: v.detach().cpu().clone().contiguous() for k, v in tensors.items()}
    write_file(path, save(tensors, {"progress": json.dumps(asdict(progress))}))


def load_state(path: Path, model: nn.Module, average: nn.Module, optimiser: AdamW) -> Progress:
    """Restore a state written by :func:`save_state` and return its progress.

    Raises:
        CheckpointError: the file is damaged or has another architecture.
    """
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
            progress = Progress(**json.loads(file.metadata()["progress"]))
        model.load_state_dict(under("model/", tensors), strict=True)
        average.load_state_dict(under("ema/", tensors), strict=True)
        state: dict[int, dict[str, Tensor]] = {}
        for index, name in enumerate(parameter_names(model, optimiser)):
            if moments := under(f"adam/{name}/", tensors):
                state[index] = moments
        groups = optimiser.state_dict()["param_groups"]
        optimiser.load_state_dict({"state": state, "param_groups": groups})
        torch.set_rng_state(tensors["rng"])
    except Exception as error:
        raise CheckpointError(
            f"{path} cannot be resumed: {error}. Expected a state saved by this version with the "
            "same model config; delete the file or choose another --out to start a new run"
        ) from error
    return progress


def under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The entries whose keys start with ``prefix``, with the prefix removed."""
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def parameter_names(model: nn.Module, optimiser: AdamW) -> list[str]:
    """Names of the optimised parameters, in the optimiser's order."""
    names = {id(p): name for name, p in model.named_parameters()}
    return [names[id(p)] for group in optimiser.param_groups for p in group["params"]]
