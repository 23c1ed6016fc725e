"""``derefl evaluate big``: detail=auto against detail=full on large photos."""

import argparse
import json
from pathlib import Path
from typing import Any

from derefl.commands.options import add_device, add_json, add_model
from derefl.errors import ConfigError
from derefl.files import check_output

DESCRIPTION = """Put reflections over large photos and take them away again (needs derefl[train]).

Each photo of DIR is the scene of one pair and the reflection of another, mixed by the synthesis
that training uses, every second reflection out of focus. PSNR in dB, against the scene, of the
input, of detail="auto" and of detail="full", and of the last two against each other."""


def add_parser(subparsers: Any) -> None:
    """Add ``big`` and its options."""
    parser = subparsers.add_parser(
        "big",
        help="large photos: detail=auto against detail=full",
        description=DESCRIPTION,
    )
    parser.add_argument(
        "--photos", metavar="DIR", type=Path, required=True, help="large photos, at least two"
    )
    parser.add_argument(
        "--megapixels",
        type=float,
        default=12.0,
        help="size that all photos are brought to (default: %(default)s)",
    )
    parser.add_argument("--limit", metavar="N", type=int, help="only the first N pairs")
    parser.add_argument(
        "--seams",
        action="store_true",
        help="instead: the difference between tiles of 1024 pixels and one piece, which takes "
        "0.5 GB a megapixel",
    )
    parser.add_argument(
        "--save-pictures", metavar="OUT", type=Path, help="write pairs and outputs there, as PNG"
    )
    add_model(parser, "derefl-small")
    add_device(parser)
    add_json(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print a table, one line per pair as soon as it is finished."""
    if not 0.01 <= args.megapixels <= 1000 or (args.limit is not None and args.limit < 1):
        raise ConfigError("expected --megapixels from 0.01 to 1000 and --limit of at least 1")
    if args.save_pictures:
        check_output(args.save_pictures / "NAME.png", overwrite=True)
    from derefl.reflection.learning.large import large_pairs, score, seams
    from derefl.reflection.remover import load_derefl

    model = load_derefl(args.model, device=args.device)
    pairs = large_pairs(args.photos, args.megapixels, args.limit)
    scores: list[dict[str, float]] = []
    for pair in pairs:
        if args.seams:
            scores.append(seams(model, pair, args.save_pictures))
        else:
            scores.append(score(model, pair, args.save_pictures))
        if not args.json:
            if len(scores) == 1:
                unit = "levels of 255" if args.seams else "PSNR in dB"
                print(f"{args.model}, photos of {args.megapixels:g} megapixels, {unit}")
                print("  ".join(f"{name:>10}" for name in scores[0]))
            print(line(scores[-1]), pair.name, flush=True)
    means = {key: sum(score[key] for score in scores) / len(scores) for key in scores[0]}
    if args.json:
        print(json.dumps({"model": args.model, "n": len(scores), "mean": means, "pairs": scores}))
    else:
        print(line(means), "mean")
    return 0


def line(scores: dict[str, float]) -> str:
    """One line of the table."""
    return "  ".join(f"{value:10.3f}" for value in scores.values())
