"""Photos as small pictures on one sheet."""

from collections.abc import Iterable
from pathlib import Path

from PIL import Image

from derefl.commands.output import print_error
from derefl.errors import ImageError
from derefl.files import check_output
from derefl.imaging.compare import TILE, contact_sheet, missing_letters, tile
from derefl.imaging.files import open_picture, save_picture
from derefl.imaging.formats import prepared


def check_sheet(path: Path, overwrite: bool = False) -> None:
    """Refuse a sheet that cannot be written.

    Raises:
        ImageError: the suffix is not of a picture format.
        OutputExistsError, OutputError: see :func:`~derefl.files.check_output`.
    """
    prepared(Image.new("RGB", (1, 1)), path)
    check_output(path, overwrite)


def write_sheet(
    path: Path, title: str, photos: Iterable[tuple[str, Path]], overwrite: bool
) -> None:
    """Write a sheet of photos: each a label and a file. An unreadable file becomes a grey tile."""

    def small(photo: Path) -> Image.Image | None:
        try:
            return tile(open_picture(photo, first_frame=True, least_side=TILE))
        except ImageError:
            return None

    tiles = [(label, small(photo)) for label, photo in photos]
    save_picture(contact_sheet(tiles, title), path, overwrite=overwrite)
    if missing := missing_letters("".join([title, *(label for label, _ in tiles)])):
        print_error(f"warning: no font on this computer has {missing}; install a Noto font")
