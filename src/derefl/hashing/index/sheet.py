"""Search hits as small pictures on one sheet."""

from collections.abc import Iterable
from pathlib import Path

from PIL import Image

from derefl.errors import ImageError
from derefl.files import check_output
from derefl.imaging.compare import contact_sheet, tile
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


def write_sheet(path: Path, title: str, hits: Iterable[tuple[str, Path]], overwrite: bool) -> None:
    """Write a sheet of photos: each a label and a file. An unreadable file becomes a grey tile."""

    def small(photo: Path) -> Image.Image | None:
        try:
            return tile(open_picture(photo, first_frame=True))
        except ImageError:
            return None

    tiles = [(label, small(photo)) for label, photo in hits]
    save_picture(contact_sheet(tiles, title), path, overwrite=overwrite)
