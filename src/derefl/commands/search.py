"""``derefl search``: find photos in an index by words or by a photo."""

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from derefl.commands.index import UNFINISHED
from derefl.commands.options import add_device, add_json, add_overwrite, words
from derefl.errors import HashIndexError, ImageError
from derefl.files import check_output
from derefl.hashing.index.folder import absolute, model_of, photo_path

if TYPE_CHECKING:
    from PIL import Image

DESCRIPTION = """Find the photos of an index that show what the words say, or look like a photo.

Printed are rank, distance (the number of bits that differ, 0 is nearest) and the photo's path,
from the working folder if it lies below."""

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
    parser.add_argument("-k", type=int, default=10, help="how many (default: %(default)s)")
    parser.add_argument(
        "--contact-sheet",
        metavar="OUT",
        type=Path,
        help="also write the photos found as small pictures on one, .jpg or .png for example; a "
        "photo that is gone is a grey tile",
    )
    add_overwrite(parser)
    add_json(parser)
    parser.add_argument(
        "--model",
        metavar="NAME",
        help="the model of the index, if it does not come with derefl: a .safetensors file, a "
        "folder or a Hub repo id",
    )
    add_device(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Do all checks first, then load the model, search, and print."""
    from derefl.hashing.index.hash_index import HashIndex

    if args.k < 1:
        raise HashIndexError(f"got -k {args.k}, expected at least 1")
    if args.contact_sheet:
        check_sheet(args.contact_sheet, args.overwrite)
    index = HashIndex.load(args.index)
    if UNFINISHED in index.extra:
        print(
            f"derefl: {args.index} is not finished; the derefl index command that makes it goes on "
            "when you repeat it",
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
        write_sheet(args.contact_sheet, title, hits, args.overwrite)
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


def check_sheet(path: Path, overwrite: bool) -> None:
    """Refuse a contact sheet that cannot be written.

    Raises:
        ImageError: the suffix is not of a picture format.
        OutputExistsError, OutputError: see :func:`~derefl.files.check_output`.
    """
    from PIL import Image

    from derefl.imaging.formats import format_for

    format_for(Image.new("RGB", (1, 1)), path)
    check_output(path, overwrite)


def write_sheet(path: Path, title: str, hits: list[dict[str, Any]], overwrite: bool) -> None:
    """Write a sheet of the photos with rank and distance."""
    from derefl.imaging.compare import contact_sheet
    from derefl.imaging.files import save_picture

    tiles = [(f"{h['rank']}.  distance {h['distance']}", small_picture(h["path"])) for h in hits]
    save_picture(contact_sheet(tiles, title), path, overwrite=overwrite)


def small_picture(path: str) -> "Image.Image | None":
    """A small copy of a photo; None if the photo cannot be read."""
    from derefl.imaging.compare import tile
    from derefl.imaging.files import open_picture

    try:
        return tile(open_picture(path, first_frame=True))
    except ImageError:
        return None
