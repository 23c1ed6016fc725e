"""``derefl train``: the training runs behind the weights."""

import argparse
import sys
from pathlib import Path
from typing import Any

EXAMPLES = """examples:
  derefl train reflection --config configs/derefl-small.toml --photos photos/ --real pairs/ \\
      --out runs/small
  derefl train reflection … --set run.steps=20000 --device cuda

The same command takes up a run that was stopped: OUT holds its state. OUT/model.safetensors is the
averaged model, renewed at every validation; use it with --model, or go on from it with --start.
"""


def add_parser(subparsers: Any) -> None:
    """Add ``train`` and what can be trained."""
    parser = subparsers.add_parser("train", help="train a model on your own data")
    wings = parser.add_subparsers(title="what to train", metavar="MODEL", required=True)
    reflection = wings.add_parser(
        "reflection",
        help="the network that removes reflections",
        description="Train the network that removes reflections (needs derefl[train]).",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    reflection.add_argument("--config", metavar="TOML", type=Path, help="settings of the run")
    reflection.add_argument(
        "--photos",
        metavar="DIR",
        nargs="+",
        help="folders of photographs to make pairs of; some of the first one are held back. "
        "They stay decoded in memory: shrink them to a few hundred pixels first",
    )
    reflection.add_argument(
        "--real",
        metavar="DIR",
        nargs="+",
        help="folders of real pairs, with blended/ and transmission_layer/",
    )
    reflection.add_argument("--out", metavar="DIR", type=Path, required=True, help="run folder")
    reflection.add_argument("--start", metavar="NAME", help="a model to start from")
    reflection.add_argument(
        "--set",
        metavar="KEY=VALUE",
        nargs="+",
        default=[],
        help="settings over those of the file, like run.steps=100",
    )
    reflection.add_argument("--device", choices=("cpu", "cuda", "mps"), default="cpu")
    reflection.set_defaults(run=run_reflection)


def run_reflection(args: argparse.Namespace) -> int:
    """Read the settings and train."""
    import torch

    from derefl.reflection.learning.train import TrainConfig, train
    from derefl.reflection.pipeline import load_derefl
    from derefl.training.config import read_config
    from derefl.zoo import check_device

    check_device(args.device)
    folders = {"photos": args.photos, "real": args.real}
    overrides = [f"pairs.{key}={list(map(str, value))}" for key, value in folders.items() if value]
    config = read_config(TrainConfig, args.config, [*overrides, *args.set])
    start = load_derefl(args.start) if args.start else None
    train(config, args.out, torch.device(args.device), start)
    print(f"trained: {args.out / 'model.safetensors'}", file=sys.stderr)
    return 0
