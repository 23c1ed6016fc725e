"""``derefl search``: find photos in an index by words or by a photo."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from derefl.commands.options import (
    MODEL_HELP,
    add_contact_sheet,
    add_device,
    add_json,
    add_overwrite,
    words,
)
from derefl.errors import HashIndexError
from derefl.hashing.index.folder import UNFINISHED, absolute, model_of, photo_path
from derefl.hashing.index.hash_index import HashIndex

DESCRIPTION = """Find the photos of an index that match some words or look like a photo.

The command prints rank, distance (the number of different bits; 0 is nearest) and path of each
photo. Paths are relative to the working folder if the photo is inside."""

EXAMPLES = """examples:
  derefl search photos.lcdh "a dog on a beach"
  derefl search photos.lcdh --image dog.jpg -k 20 --contact-sheet like_dog.jpg
  derefl search photos.lcdh "two boats" --json > hits.json
"""


def add_parser(subparsers: Any) -> None:
    """Add ``search`` and its options."""
    parser = subparsers.add_parser(
        "search",
        help="find photos by words or by a photo",
        description=DESCRIPTION,
        epilog=EXAMPLES,
    )
    parser.add_argument("index", metavar="INDEX", type=Path, help="a file of 'derefl index'")
    query = parser.add_mutually_exclusive_group(required=True)
    query.add_argument(
        "words", metavar="WORDS", nargs="?", type=words, help="what the photos show, in quotes"
    )
    query.add_argument("--image", metavar="PHOTO", type=Path, help="what the photos look like")
    parser.add_argument("-k", type=int, default=10, help="number of photos (default: %(default)s)")
    add_contact_sheet(parser)
    add_overwrite(parser)
    add_json(parser)
    parser.add_argument(
        "--model",
        metavar="NAME",
        help=f"the model of the index, needed if it does not come with derefl: {MODEL_HELP}",
    )
    add_device(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Do all checks first, then load the model, search, and print."""
    from derefl.hashing.index.sheet import check_sheet, write_sheet

    if args.k < 1:
        raise HashIndexError(f"got -k {args.k}, expected at least 1")
    if args.contact_sheet:
        check_sheet(args.contact_sheet, args.overwrite)
    index = HashIndex.load(args.index)
    if UNFINISHED in index.extra:
        print(
            f"derefl: {args.index} is not finished; run the same derefl index command again to "
            "finish it",
            file=sys.stderr,
        )
    from derefl.hashing.hasher import load_lcdh_student  # after the checks: torch takes seconds

    model = args.model or model_of(index.model)
    hasher = load_lcdh_student(model, bits=index.bits, device=args.device)
    index.require(hasher)
    code = hasher.encode_image([args.image]) if args.image else hasher.encode_text([args.words])
    home = absolute(args.index).parent
    hits = [
        {"rank": rank, "distance": distance, "id": id, "path": str(photo_path(id, home))}
        for rank, (id, distance) in enumerate(index.search(code, args.k)[0], 1)
    ]
    if args.contact_sheet:
        title = f"like {args.image.name}" if args.image else args.words
        tiles = [
            ("{rank}.  distance {distance}".format(**hit), Path(str(hit["path"]))) for hit in hits
        ]
        write_sheet(args.contact_sheet, title, tiles, args.overwrite)
    if args.json:
        query = {"image": str(args.image)} if args.image else {"text": args.words}
        print(json.dumps({"query": query, "model": model, "bits": index.bits, "hits": hits}))
        return 0
    print("rank  distance  photo")
    for hit in hits:
        print("{rank:4}  {distance:8}  {path}".format(**hit))
    if args.contact_sheet:
        print(f"contact sheet: {args.contact_sheet}")
    return 0
