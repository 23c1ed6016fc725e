"""What the page shows: small pictures, and errors as sentences."""

import html
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import gradio as gr

from derefl.errors import DereflError
from derefl.imaging.compare import RGB_MODES, panel
from derefl.imaging.deep import Picture
from derefl.imaging.files import save_picture


def preview(image: Picture, path: Path, side: int | None = None) -> str:
    """Write a picture small enough for a page, in JPEG, with its ICC profile if that is for RGB.

    Args:
        image: of any mode.
        path: a file that is not there yet, ``.jpg``.
        side: its longest side in pixels at most, if smaller than
            :data:`~derefl.imaging.compare.PANEL`.

    Returns:
        The path, as gradio wants it.
    """
    small = panel(image)
    if side:
        small.thumbnail((side, side))
    if image.mode in RGB_MODES and "icc_profile" in image.info:
        small.info["icc_profile"] = image.info["icc_profile"]
    save_picture(small, path)
    return str(path)


@contextmanager
def sentences(upload: str | None = None) -> Iterator[None]:
    """Show an error of derefl or of the file system on the page, until the visitor closes it.

    Args:
        upload: a file whose name stands in the sentence instead of its path on the server.
    """
    try:
        yield
    except (DereflError, OSError) as error:
        text = printable(str(error))
        if upload:
            text = text.replace(upload, Path(upload).name)
        # gradio shows it as HTML.
        raise gr.Error(html.escape(text), duration=None, print_exception=False) from error


def printable(name: str) -> str:
    """A name or a text with names in it; bytes of names that are no UTF-8 become �."""
    return os.fsencode(name).decode("utf-8", errors="replace")
