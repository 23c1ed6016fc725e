"""``derefl duplicates``: list the photos of an index that look nearly the same."""

import argparse
import json
from pathlib import Path

from derefl.commands.options import add_json, whole_number
from derefl.hashing.index.folder import absolute, photo_path
from derefl.hashing.index.hash_index import HashIndex
from derefl.hashing.index.scan import duplicate_radius

HELP = "list groups of photos that look nearly the same"

DESCRIPTION = """List groups of photos that look nearly the same: copies, other sizes, bursts.

The command prints a group for all photos that are connected by steps of at most N different bits.
The distance is counted from the first photo of the group. Look at the photos before you delete one:
different photos can have equal codes."""

EXAMPLES = """examples:
  derefl duplicates photos.lcdh
  derefl duplicates photos.lcdh --within 0 --json > groups.json
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``duplicates``."""
    parser.add_argument("index", metavar="INDEX", type=Path, help="a file of 'derefl index'")
    parser.add_argument(
        "--within",
        metavar="N",
        type=whole_number(0),
        help="number of different bits between two photos (default: 2 for codes of 64 bits, 4 for "
        "128)",
    )
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Load the index, find the groups, and print them."""
    index, home = HashIndex.load(args.index), absolute(args.index).parent
    within = duplicate_radius(index.bits) if args.within is None else args.within
    groups = [
        [{"distance": n, "id": id, "path": str(photo_path(id, home))} for id, n in group]
        for group in index.duplicates(within)
    ]
    if args.json:
        print(json.dumps({"within": within, "bits": index.bits, "groups": groups}))
        return 0
    for group in groups:
        print("distance  photo")
        for photo in group:
            print("{distance:8}  {path}".format(**photo))
        print()
    print(f"groups: {len(groups)}; photos in groups: {sum(map(len, groups))} of {len(index)}")
    return 0
