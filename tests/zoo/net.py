"""The smallest model with all kinds of content of a checkpoint, and helpers for the tests."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import nn

from derefl.zoo import file_sha256, save_checkpoint

KIND = "derefl"


@dataclasses.dataclass(frozen=True)
class NetConfig:
    width: int = 4
    depths: tuple[int, ...] = (1, 2)


class Net(nn.Module):
    def __init__(self, config: NetConfig) -> None:
        super().__init__()
        self.config = config
        self.linear = nn.Linear(3, config.width)
        self.norm = nn.BatchNorm1d(config.width)
        self.register_buffer("index", torch.arange(config.width), persistent=False)


def build(config: dict[str, Any]) -> Net:
    return Net(NetConfig(**config))


def make_net(seed: int = 0, config: NetConfig | None = None) -> Net:
    """A net whose weights, running statistics and step counter all depend on the seed."""
    net = Net(config or NetConfig())
    generator = torch.Generator().manual_seed(seed)
    for tensor in net.state_dict().values():
        if tensor.is_floating_point():
            tensor.copy_(torch.randn(tensor.shape, generator=generator))
        else:
            tensor.fill_(7 + seed)
    return net


def save_net(path: Path, net: Net, dtype: torch.dtype = torch.float32, **changed: Any) -> Path:
    """Save the net; ``changed`` replaces the kind or the config in the file."""
    config = dataclasses.asdict(net.config)
    save_checkpoint(net, path, **{"kind": KIND, "config": config, **changed}, dtype=dtype)
    return path


def same(one: nn.Module, other: nn.Module) -> bool:
    """Whether two modules hold equal tensors of equal dtype, non-persistent buffers included."""
    one, other = (getattr(model, "network", model) for model in (one, other))
    left, right = (dict([*m.named_parameters(), *m.named_buffers()]) for m in (one, other))
    return left.keys() == right.keys() and all(
        left[name].dtype == right[name].dtype and torch.equal(left[name], right[name])
        for name in left
    )


def entry(path: Path, name: str = "net-small", **changed: Any) -> dict[str, Any]:
    """A manifest entry for a file of :func:`save_net`; ``changed`` replaces some of its values."""
    with safe_open(path, "pt") as file:
        config = json.loads(file.metadata()["derefl"])["config"]
    return {
        "name": name,
        "kind": KIND,
        "config": config,
        "file": f"{name}.safetensors",
        "bytes": path.stat().st_size,
        "sha256": file_sha256(path),
        "dtype": "float32",
        "parameters": 24,
        "where": {"bundled": None, "hub": None},
        "licence": "Apache-2.0",
        "training": {
            "data": ["none"],
            "steps": 1,
            "pictures": 1,
            "hours": 0.1,
            "hardware": "2 CPU cores",
        },
        "scores": [],
        **changed,
    }
