"""``derefl evaluate``: scores against ground truth."""

import argparse
import json
from pathlib import Path
from typing import Any

from derefl.commands import evaluate_big, evaluate_hashing, evaluate_names, evaluate_online
from derefl.commands.options import add_device, add_json, add_model
from derefl.errors import ConfigError

DESCRIPTION = """Score a model on pictures whose truth is known (needs derefl[train]).

DIR has blended/ and transmission_layer/ with equal names, or is a folder of SIR² as it comes.
The scores of the input are printed too, as a check."""

EXAMPLES = """examples:
  derefl evaluate reflection --data real20/
  derefl evaluate reflection --data real20/ --protocol native8 --json > scores.json
  derefl evaluate clean --data photos/ --held-back
  derefl evaluate validation --val rsir2_val=rsir2/val real_val=zhang/val --photos photos/ \\
      --model derefl-base runs/base/model.safetensors
"""

VALIDATION = """Score models on validation sets, as training does: folders of pairs or of photos
without a reflection (--val), and pairs made of the photographs that training holds back (--photos).

One line per kind of picture: number of pictures, PSNR of the input and of the output in dB, their
difference (gain) with its standard error over scenes, the gain in the tenth of the pixels where the
reflection is strongest, the error in means of 16 x 16 pixels (low) and in the rest (high) in levels
of 255, and the worst PSNR. Checkpoints are chosen by validation sets, never by test sets."""


def add_parser(subparsers: Any) -> None:
    """Add ``evaluate`` and its subcommands."""
    parser = subparsers.add_parser("evaluate", help="measure a model on test data")
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

    validation = wings.add_parser(
        "validation",
        help="the scores that checkpoints are chosen by",
        description=VALIDATION,
        **common,
    )
    validation.add_argument(
        "--val", metavar="NAME=DIR", nargs="+", default=[], help="validation sets by name"
    )
    validation.add_argument(
        "--photos", metavar="DIR", nargs="+", default=[], help="folders of photos, as in training"
    )
    validation.add_argument("--model", metavar="NAME", nargs="+", default=["derefl-small"])
    validation.set_defaults(run=run_validation)

    evaluate_big.add_parser(wings)
    evaluate_hashing.add_parser(wings)
    evaluate_names.add_parser(wings)
    evaluate_online.add_parser(wings)

    for command in (reflection, clean):
        command.add_argument("--data", metavar="DIR", type=Path, required=True)
        add_model(command, "derefl-small")
    for command in (reflection, clean, validation):
        add_device(command)
        add_json(command)


def run_reflection(args: argparse.Namespace) -> int:
    """Print the scores on pairs."""
    from tqdm import tqdm

    from derefl.reflection.learning.evaluate import evaluate
    from derefl.reflection.remover import load_derefl

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
    """Print the change of photos without reflections."""
    from derefl.reflection.learning.evaluate import evaluate_clean
    from derefl.reflection.learning.folders import list_pictures
    from derefl.reflection.learning.pairs import PairsConfig, held_back
    from derefl.reflection.remover import load_derefl

    paths = list_pictures(args.data)
    if args.held_back:
        # Every second one: the others are layers of synthetic validation pairs.
        paths = held_back(paths, PairsConfig().hold_back)[1::2]
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


def run_validation(args: argparse.Namespace) -> int:
    """Print a table of scores for each model."""
    from derefl.reflection.learning.pairs import PairsConfig, held_back_photos
    from derefl.reflection.learning.train import RunConfig, validation_folders
    from derefl.reflection.learning.validate import format_table, samples, scores
    from derefl.reflection.remover import load_derefl

    if not (args.val or args.photos):
        raise ConfigError("nothing to validate; give --val NAME=DIR, --photos DIR, or both")
    folders = validation_folders(RunConfig(validation=tuple(args.val)))
    photos = held_back_photos(args.photos, PairsConfig().hold_back)
    tables = {}
    for name in args.model:
        model = load_derefl(name, device=args.device)
        tables[name] = scores(model.transmission, samples(folders, photos))
    if args.json:
        print(json.dumps(tables))
        return 0
    for name, table in tables.items():
        print(f"{name}\n{format_table(table)}")
    return 0
