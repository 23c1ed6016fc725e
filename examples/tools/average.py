"""The mean of checkpoints: ``python examples/tools/average.py FILE FILE … --out FILE``.

For maintainers. Runs that start from the same weights and differ in their seeds end near each
other, and the mean of their weights is often better than each of them (Wortsman et al., "Model
soups", ICML 2022). The mean of unrelated runs is useless.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file, save
from torch import Tensor

from derefl.errors import CheckpointError, ConfigError
from derefl.files import write_file
from derefl.zoo.header import difference, read_header, read_metadata, some


def average(checkpoints: Sequence[Path], out: Path, shares: Sequence[float] | None = None) -> None:
    """Write the weighted mean of checkpoints of one architecture, in the dtype of the first.

    Args:
        checkpoints: files of one kind and config.
        out: the file to write; it may be one of the checkpoints.
        shares: the weight of each checkpoint, divided by their sum; None: all the same.

    Raises:
        CheckpointError: a file is not a checkpoint of derefl, or differs in architecture.
        ConfigError: not one share for each checkpoint, or the sum is not above 0.
    """
    first = checkpoints[0]
    header = read_header(first)
    for other in checkpoints[1:]:
        if differing := difference(header, read_header(other)):
            raise CheckpointError(
                f"{other} and {first} differ in {some(differing)}; only weights of one "
                "architecture have a mean"
            )
    shares = [1.0] * len(checkpoints) if shares is None else shares
    if len(shares) != len(checkpoints) or not sum(shares) > 0:
        raise ConfigError(
            f"got the shares {list(shares)} for {len(checkpoints)} checkpoints, expected one for "
            "each and a sum above 0"
        )
    parts = [load_file(path) for path in checkpoints]
    tensors = {name: mean([part[name] for part in parts], shares) for name in parts[0]}
    write_file(out, save(tensors, read_metadata(first)))


def mean(tensors: Sequence[Tensor], shares: Sequence[float]) -> Tensor:
    """The weighted mean, summed in float64; the first one of integers (counters)."""
    first = tensors[0]
    if not first.is_floating_point():
        return first
    total = torch.zeros_like(first, dtype=torch.float64)
    for tensor, share in zip(tensors, shares, strict=True):
        total += share / sum(shares) * tensor.double()
    return total.to(first.dtype)


def main(argv: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("checkpoints", metavar="FILE", nargs="+", type=Path)
    parser.add_argument("--out", metavar="FILE", type=Path, required=True)
    parser.add_argument("--shares", metavar="X", nargs="+", type=float, help="default: all equal")
    args = parser.parse_args(argv)
    average(args.checkpoints, args.out, args.shares)


if __name__ == "__main__":
    main()
