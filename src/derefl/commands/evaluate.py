"""``derefl evaluate``: scores against ground truth."""

import argparse
import json
from pathlib import Path
from typing import Any

from derefl.commands import evaluate_big, evaluate_hashing, evaluate_names, evaluate_online
from derefl.commands.options import add_device, add_json, add_model

DESCRIPTION = """Score a model on pictures whose truth is known (needs derefl[train]).

DIR has blended/ and transmission_layer/ with equal names, or is a folder of SIR² as it comes.
The scores of the input left as it is are given too: a check that costs nothing."""

EXAMPLES = """examples:
  derefl evaluate reflection --data real20/
  derefl evaluate reflection --data real20/ --protocol native8 --json > scores.json
  derefl evaluate clean --data photos/ --held-back
  derefl evaluate held-back --config configs/derefl-small.toml --photos photos/ --real pairs/ \\
      --model derefl-small runs/small/model.safetensors
"""

HELD_BACK = """Score models on the pictures that training holds back: pairs through real glass and
synthetic ones against their truth; photos without a reflection, as they are and blurred, against
themselves. Mean PSNR in dB. This is what checkpoints are chosen by, so that no test set is."""


def add_parser(subparsers: Any) -> None:
    """Add ``evaluate`` and what can be evaluated."""
    parser = subparsers.add_parser("evaluate", help="measure a model on pictures with known truth")
    wings = parser.add_subparsers(title="what to measure", metavar="WHAT", required=True)
    common = {"epilog": EXAMPLES}

    reflection = wings.add_parser(
        "reflection", help="PSNR and SSIM on pairs", description=DESCRIPTION, **common
    )
    reflection.add_argument(
        "--protocol",
        choices=("resize32", "native8"),
        default="resize32",
        help="resize32: sides cut down to multiples of 32, means per channel, as DSIT and DSRNet "
        "do; native8: native size, rounded to 8 bits (default: %(default)s)",
    )
    reflection.add_argument(
        "--save-pictures", metavar="OUT", type=Path, help="write the outputs there, as PNG"
    )
    reflection.set_defaults(run=run_reflection)

    clean = wings.add_parser(
        "clean",
        help="what a model does to photos without reflections",
        description="Run a model on photos that have no reflection and compare output with input.",
        **common,
    )
    clean.add_argument(
        "--held-back",
        action="store_true",
        help="only the pictures of DIR that training holds back for this check",
    )
    clean.set_defaults(run=run_clean)

    held_back = wings.add_parser(
        "held-back",
        help="what checkpoints are chosen by: the pictures that training holds back",
        description=HELD_BACK,
        **common,
    )
    held_back.add_argument("--config", metavar="TOML", type=Path, help="settings of the run")
    held_back.add_argument(
        "--photos", metavar="DIR", nargs="+", required=True, help="folders, as in training"
    )
    held_back.add_argument(
        "--real", metavar="DIR", nargs="+", default=[], help="folders of real pairs, as in training"
    )
    held_back.add_argument("--model", metavar="NAME", nargs="+", default=["derefl-small"])
    held_back.add_argument(
        "--one-size", action="store_true", help="one pass of the network instead of two sizes"
    )
    held_back.set_defaults(run=run_held_back)

    evaluate_big.add_parser(wings)
    evaluate_hashing.add_parser(wings)
    evaluate_names.add_parser(wings)
    evaluate_online.add_parser(wings)

    for command in (reflection, clean):
        command.add_argument("--data", metavar="DIR", type=Path, required=True)
        add_model(command, "derefl-small")
    for command in (reflection, clean, held_back):
        add_device(command)
        add_json(command)


def run_reflection(args: argparse.Namespace) -> int:
    """Print the scores on pairs."""
    from tqdm import tqdm

    from derefl.reflection.learning.evaluate import evaluate
    from derefl.reflection.pipeline import load_derefl

    report = evaluate(
        load_derefl(args.model, device=args.device),
        args.data,
        args.protocol,
        args.model,
        args.save_pictures,
        lambda pairs: iter(tqdm(pairs, unit="picture", leave=False)),
    )
    if args.json:
        print(json.dumps(report.as_json()))
        return 0
    print(f"{report.model} on {args.data}, {report.n} pictures, {report.protocol}")
    print("          PSNR     SSIM")
    print(f"input   {report.input_psnr:6.3f}   {report.input_ssim:.4f}")
    print(f"output  {report.psnr:6.3f}   {report.ssim:.4f}")
    return 0


def run_clean(args: argparse.Namespace) -> int:
    """Print how far clean photos moved."""
    from derefl.reflection.learning.evaluate import evaluate_clean
    from derefl.reflection.learning.folders import list_pictures
    from derefl.reflection.learning.pairs import no_harm_pictures
    from derefl.reflection.pipeline import load_derefl

    paths = list_pictures(args.data)
    paths = no_harm_pictures(paths) if args.held_back else paths
    report = evaluate_clean(load_derefl(args.model, device=args.device), paths)
    if args.json:
        print(json.dumps(report))
    else:
        print(
            f"{args.model} on {report['n']} clean photos: output against input "
            f"{report['psnr']:.2f} dB on average, {report['worst_psnr']:.2f} dB at worst "
            f"({report['worst']}); mean brightness {report['brightness']:+.2f} of 255"
        )
    return 0


def run_held_back(args: argparse.Namespace) -> int:
    """Print a row of means for each model."""
    from derefl.reflection.learning.pairs import Pairs
    from derefl.reflection.learning.train import TrainConfig
    from derefl.reflection.learning.validate import held_back_scores
    from derefl.reflection.pipeline import load_derefl
    from derefl.training.config import read_config

    folders = {"photos": args.photos, "real": args.real}
    overrides = [f"pairs.{key}={list(map(str, value))}" for key, value in folders.items()]
    config = read_config(TrainConfig, args.config, overrides)
    pairs = Pairs(config.pairs, config.synthesis, config.run.seed)
    rows = {}
    for name in args.model:
        model = load_derefl(name, device=args.device)
        estimate = (lambda x, m=model: x + m.look(x)) if args.one_size else model.transmission
        rows[name] = held_back_scores(estimate, pairs)
    if args.json:
        print(json.dumps(rows))
        return 0
    scores = next(iter(rows.values()))
    kinds = [key.removesuffix("_psnr") for key in scores if key.endswith("_psnr")]
    table = {"left as it is": [scores[f"{kind}_input"] for kind in kinds]}
    table |= {name: [scores[f"{kind}_psnr"] for kind in kinds] for name, scores in rows.items()}
    print("".join(f"{kind:>11}" for kind in kinds))
    for name, values in table.items():
        print("".join(f"{value:11.2f}" for value in values) + f"  {name}")
    return 0
