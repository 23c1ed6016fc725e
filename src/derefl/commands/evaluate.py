"""``derefl evaluate``: scores against ground truth."""

import argparse
import json
from pathlib import Path
from typing import Any

from derefl.commands import evaluate_hashing, evaluate_names, evaluate_online
from derefl.commands.options import add_command, add_device, add_json, add_model
from derefl.errors import ConfigError
from derefl.files import check_output

HELP = "measure a model on test data"

REFLECTION_EXAMPLES = """examples:
  derefl evaluate reflection --data real20/
  derefl evaluate reflection --data real20/ --protocol native8 --json > scores.json
  derefl evaluate clean --data photos/ --held-back
  derefl evaluate validation --val rsir2_val=rsir2/val real_val=zhang/val --photos photos/ \\
      --model derefl-base runs/base/model.safetensors
"""

PAIRS = """Compute PSNR and SSIM on pairs with known truth (needs derefl[train]).

DIR has blended/ and transmission_layer/ with equal file names, or is a folder of SIR². As a check,
the scores of the input are printed too."""

CLEAN = """Run a model on photos without reflections, and compare the output with the input."""

VALIDATION = """Score models as training does: on validation sets (--val), each a folder of pairs or
of photos without a reflection, and on pairs made of photos that training holds back (--photos).

One line per kind of picture: the number of pictures, PSNR of the input and of the output in dB,
their difference (gain) with its standard error over scenes, the gain in the tenth of the pixels
with the strongest reflection, the error in means of 16 x 16 pixels (low) and in the rest (high) in
levels of 255, the worst PSNR, and the mean amount of reflection. The last lines say how well the
amount separates photos with a reflection (the pairs) from photos without: the area under the ROC
curve, and the shares of both that reach some amounts. Choose checkpoints by validation sets, never
by test sets."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the subcommands of ``evaluate``."""
    wings = parser.add_subparsers(title="what to measure", metavar="WHAT", required=True)

    def add(name: str, help: str, description: str, run: Any) -> argparse.ArgumentParser:
        command: argparse.ArgumentParser = wings.add_parser(
            name, help=help, description=description, epilog=REFLECTION_EXAMPLES
        )
        add_device(command)
        add_json(command)
        command.set_defaults(run=run)
        return command

    reflection = add("reflection", "PSNR and SSIM on pairs", PAIRS, run_reflection)
    reflection.add_argument("--data", metavar="DIR", type=Path, required=True)
    reflection.add_argument(
        "--protocol",
        choices=("resize32", "native8"),
        default="resize32",
        help="resize32: sizes reduced to multiples of 32, means per channel, as DSIT and DSRNet; "
        "native8: native size, rounded to 8 bits (default: %(default)s)",
    )
    clean = add("clean", "the change of photos without reflections", CLEAN, run_clean)
    clean.add_argument("--data", metavar="DIR", type=Path, required=True)
    clean.add_argument(
        "--held-back", action="store_true", help="only the photos that training holds back for this"
    )
    validation = add("validation", "the scores that choose checkpoints", VALIDATION, run_validation)
    validation.add_argument(
        "--val", metavar="NAME=DIR", nargs="+", default=[], help="validation sets by name"
    )
    validation.add_argument(
        "--photos", metavar="DIR", nargs="+", default=[], help="folders of photos, as in training"
    )
    validation.add_argument("--model", metavar="NAME", nargs="+", default=["derefl-base"])
    reflection.add_argument(
        "--save-pictures", metavar="OUT", type=Path, help="write the pictures to OUT, as PNG"
    )
    for command in (reflection, clean):
        add_model(command, "derefl-base")

    for module in (evaluate_hashing, evaluate_names, evaluate_online):
        add_command(wings, module)


def run_reflection(args: argparse.Namespace) -> int:
    """Print the scores on pairs."""
    from tqdm import tqdm

    from derefl.reflection.learning.evaluate import evaluate
    from derefl.reflection.learning.folders import list_pairs
    from derefl.reflection.remover import load_derefl

    if args.save_pictures:
        check_output(args.save_pictures / "NAME.png", overwrite=True)
    report = evaluate(
        load_derefl(args.model, device=args.device),
        tqdm(list_pairs(args.data), unit="picture", leave=False),
        args.protocol,
        pictures=args.save_pictures,
    )
    if args.json:
        print(json.dumps({"model": args.model, **report}))
        return 0
    print("{} on {}, {n} pictures, {protocol}".format(args.model, args.data, **report))
    print("          PSNR     SSIM")
    print("input   {input_psnr:6.3f}   {input_ssim:.4f}".format(**report))
    print("output  {psnr:6.3f}   {ssim:.4f}".format(**report))
    return 0


def run_clean(args: argparse.Namespace) -> int:
    """Print the change of photos without reflections."""
    from tqdm import tqdm

    from derefl.reflection.learning.evaluate import evaluate_clean
    from derefl.reflection.learning.folders import list_pictures
    from derefl.reflection.learning.pairs import PairsConfig, held_back_photos
    from derefl.reflection.remover import load_derefl

    if args.held_back:
        # Every second photo: the others are layers of synthetic validation pairs.
        paths = held_back_photos([args.data], PairsConfig().hold_back)[1::2]
    else:
        paths = list_pictures(args.data)
    model = load_derefl(args.model, device=args.device)
    report = evaluate_clean(model, tqdm(paths, unit="picture", leave=False))
    if args.json:
        print(json.dumps(report))
    else:
        print(
            "{} on {n} photos without reflections, output against input: mean {psnr:.2f} dB, worst "
            "{worst_psnr:.2f} dB ({worst}), brightness {brightness:+.2f} of 255".format(
                args.model, **report
            )
        )
    return 0


def run_validation(args: argparse.Namespace) -> int:
    """Print a table of scores for each model."""
    from tqdm import tqdm

    from derefl.reflection.learning.pairs import PairsConfig, held_back_photos
    from derefl.reflection.learning.train import RunConfig, validation_folders
    from derefl.reflection.learning.validate import (
        format_roc,
        format_table,
        measured,
        roc,
        samples,
        scores,
    )
    from derefl.reflection.remover import load_derefl

    if not (args.val or args.photos):
        raise ConfigError("nothing to validate; give --val NAME=DIR, --photos DIR, or both")
    folders = validation_folders(RunConfig(validation=tuple(args.val)))
    photos = held_back_photos(args.photos, PairsConfig().hold_back)
    tables: dict[str, Any] = {}
    for name in args.model:
        model = load_derefl(name, device=args.device)
        pictures = tqdm(samples(folders, photos), unit="picture", leave=False)
        results = measured(model.transmission, pictures)
        table, curve = scores(results), roc(results, folders)
        tables[name] = table | ({"amount": curve} if curve else {})
        if not args.json:
            print(name, *format_table(table), *(format_roc(curve) if curve else []), sep="\n")
    if args.json:
        print(json.dumps(tables))
    return 0
