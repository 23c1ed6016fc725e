"""``derefl scan``: find the photos that were taken through glass."""

import argparse
import json
from pathlib import Path
from typing import Any

from derefl.commands.options import (
    add_contact_sheet,
    add_device,
    add_exclude,
    add_json,
    add_max_megapixels,
    add_model,
    add_overwrite,
    add_workers,
    whole_number,
)
from derefl.commands.output import print_error
from derefl.commands.remove import finish
from derefl.imaging.folders import kinds, passed_over_note
from derefl.reflection.folder import dereflect_planned
from derefl.reflection.plan import Result, find_photos

HELP = "list photos by how much reflection they show"

DESCRIPTION = """List photos by how much reflection the network sees in them, most first.

PHOTOS are photos, folders with subfolders, and patterns in quotes. The amount goes from 0 (no
reflection) to 0.5. Look at a contact sheet of the first 100, choose a limit, then clean the photos
that reach it with derefl remove --only-if AMOUNT."""

EXAMPLES = """examples:
  derefl scan photos/
  derefl scan photos/ -k 50 --contact-sheet glass.jpg
  derefl scan photos/ --json > amounts.json
"""

SHEET = 100
"""Largest number of photos on a contact sheet."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``scan``."""
    add = parser.add_argument
    add("inputs", metavar="PHOTOS", nargs="+", type=Path, help="photo, folder or pattern")
    add("-k", metavar="N", type=whole_number(1), help="only the first N photos (default: all)")
    add_exclude(parser)
    add_contact_sheet(parser)
    add_overwrite(parser)
    add_json(parser)
    add_workers(parser)
    add_model(parser, "derefl-base")
    add_device(parser)
    add_max_megapixels(parser)


def run(args: argparse.Namespace) -> int:
    """Do all checks first, then measure all photos, and print."""
    from derefl.commands.sheet import check_sheet, write_sheet
    from derefl.reflection.remover import load_derefl

    if args.contact_sheet:
        check_sheet(args.contact_sheet, args.overwrite)
    passed_over: set[Path] = set()
    found, closed = find_photos(args.inputs, exclude=args.exclude, passed_over=passed_over.add)
    paths = dict.fromkeys(path for path, _ in found)  # a photo may be in several inputs
    results = [*map(Result, paths), *closed]
    model = load_derefl(args.model, device=args.device)
    options = {name: getattr(args, name) for name in ("max_megapixels", "workers")}
    interrupted = finish(dereflect_planned(model, results, **options), len(results), args.json)
    amounts = [(r.amount, str(r.source)) for r in results if r.amount is not None]
    amounts.sort(key=lambda pair: -pair[0])
    photos: list[Any] = [{"amount": round(a, 4), "path": path} for a, path in amounts[: args.k]]
    failed = [{"path": str(r.source), "error": r.error} for r in results if r.error]
    if args.json:
        report = {"photos": photos, "failed": failed, "passed_over": kinds(passed_over)}
        print(*json.dumps(report, indent=2).splitlines(), sep="\n")
    else:
        print("amount  photo")
        for photo in photos:
            print("{amount:.4f}  {path}".format(**photo))
        print(f"{len(amounts)} of {len(paths)} photos scanned{passed_over_note(passed_over)}")
    for failure in failed:
        print_error(failure["error"])
    if args.contact_sheet and photos:
        tiles = [
            (f"{photo['amount']:.4f}  {Path(photo['path']).name}", Path(photo["path"]))
            for photo in photos[:SHEET]
        ]
        write_sheet(args.contact_sheet, "amount of reflection", tiles, args.overwrite)
    if interrupted:
        return print_error("interrupted", 130)
    return 1 if failed else 0
