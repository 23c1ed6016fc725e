"""``derefl search``: find photos in an index by words or by a photo."""

import argparse
import json
import os
from operator import itemgetter
from pathlib import Path
from typing import Any

from derefl.commands.options import (
    MODEL_HELP,
    add_contact_sheet,
    add_device,
    add_json,
    add_overwrite,
    whole_number,
    words,
)
from derefl.commands.output import print_error
from derefl.errors import HashIndexError
from derefl.hashing.codes import Codes
from derefl.hashing.index.base import MODEL
from derefl.hashing.index.folder import UNFINISHED, absolute, inside, photo_path
from derefl.hashing.index.hash_index import HashIndex

HELP = "find photos by words or by a photo"

DESCRIPTION = """Find the photos of an index that match some words or look like a photo.

The command prints rank, distance (the number of different bits; 0 is nearest) and path of each
photo. Paths are relative to the working folder if the photo is inside."""

EXAMPLES = """examples:
  derefl search photos.lcdh "a dog on a beach"
  derefl search photos.lcdh more.lcdh "a dog on a beach" --below photos/2024
  derefl search photos.lcdh --image dog.jpg -k 20 --contact-sheet like_dog.jpg
  derefl search photos.lcdh "two boats" -0 | xargs -0 cp -t boats/
  derefl search photos.lcdh "two boats" --json > hits.json
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``search``."""
    parser.usage = "%(prog)s [options] INDEX [INDEX ...] (WORDS | --image PHOTO)"
    parser.add_argument(
        "inputs",
        metavar="INDEX",
        nargs="+",
        help="files of 'derefl index', then WORDS: what the photos show, in quotes",
    )
    parser.add_argument("--image", metavar="PHOTO", type=Path, help="what the photos look like")
    parser.add_argument(
        "-k", type=whole_number(1), default=10, help="number of photos (default: %(default)s)"
    )
    parser.add_argument("--below", metavar="FOLDER", type=Path, help="only photos in this folder")
    add_contact_sheet(parser)
    add_overwrite(parser)
    form = parser.add_mutually_exclusive_group()
    add_json(form)
    form.add_argument("--paths", action="store_true", help="print only paths, one per line")
    form.add_argument(
        "-0", "--null", action="store_true", help="print only paths, each followed by NUL"
    )
    parser.add_argument(
        "--model",
        metavar="NAME",
        help=f"the model of the index, needed if it does not come with derefl: {MODEL_HELP}",
    )
    add_device(parser)


def run(args: argparse.Namespace) -> int:
    """Do all checks first, then load the model, search, and print."""
    from derefl.commands.sheet import check_sheet, write_sheet

    if not args.image and (len(args.inputs) == 1 or args.inputs[-1].endswith(".lcdh")):
        args.refuse("the following arguments are required: WORDS or --image")
    if args.contact_sheet:
        check_sheet(args.contact_sheet, args.overwrite)
    text = "" if args.image else words(args.inputs.pop())
    for name in args.inputs[1:]:
        if not os.path.lexists(name):
            raise HashIndexError(
                f"{name}: there is no such index; put all WORDS in one pair of quotes"
            )
    indexes = [(name, HashIndex.load(name)) for name in args.inputs]
    first = indexes[0][1]
    for name, index in indexes:
        if UNFINISHED in index.extra:
            print_error(f"{name} is not finished; run the same derefl index command again")
        if (index.bits, index.sha256) != (first.bits, first.sha256):
            raise HashIndexError(
                f"{name} has codes of {index.bits} bits of the model {index.model!r}, "
                f"{args.inputs[0]} of {first.bits} bits of {first.model!r}, and their distances do "
                "not compare; search one index after the other"
            )
    first.load_hasher(args.model, args.device)  # after the checks: torch takes seconds
    from derefl.hashing.tokenizer import unknown_words

    if unknown := unknown_words(text):
        print_error(
            f"warning: the model does not know the words {', '.join(map(repr, unknown[:5]))}; "
            "describe the photos in simple English"
        )
    hasher = first.hasher
    (code,) = hasher.encode_image([args.image]) if args.image else hasher.encode_text([text])
    hits = nearest(indexes, code, args)
    if args.contact_sheet:
        photos = [
            (f"{hit['distance']}  {Path(hit['path']).name}", Path(hit["path"])) for hit in hits
        ]
        title = f"like {args.image.name}" if args.image else text
        write_sheet(args.contact_sheet, title, photos, args.overwrite)
    if args.json:
        query = {"image": str(args.image)} if args.image else {"text": text}
        about = {"model": args.model or first.model or MODEL, "bits": first.bits}
        print(json.dumps({"query": query, **about, "hits": hits}))
    elif args.paths or args.null:
        for hit in hits:
            print(hit["path"], end="\0" if args.null else "\n")
    else:
        print("rank  distance  photo")
        for hit in hits:
            print("{rank:4}  {distance:8}  {path}".format(**hit))
        if args.contact_sheet:
            print(f"contact sheet: {args.contact_sheet}")
    return 0


def nearest(
    indexes: list[tuple[str, HashIndex]], code: Codes, args: argparse.Namespace
) -> list[dict[str, Any]]:
    """The hits of all indexes together."""
    found = []
    for name, index in indexes:
        home = absolute(Path(name)).parent
        where = inside(args.below, home) if args.below else None
        found += [
            {"distance": distance, "id": id, "path": str(photo_path(id, home)), "index": name}
            for id, distance in index.search(code, args.k, where)
        ]
    if args.below and not found:
        raise HashIndexError(f"{args.below} has no photos of the index; name another folder")
    found.sort(key=itemgetter("distance"))
    return [{"rank": rank, **hit} for rank, hit in enumerate(found[: args.k], 1)]
