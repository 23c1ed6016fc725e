"""Small pictures and error messages for the page."""

import html
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import gradio as gr

from derefl.errors import DereflError
from derefl.imaging.compare import RGB_MODES, panel
from derefl.imaging.files import save_picture
from derefl.imaging.sixteen_bit import Picture


def preview(image: Picture, path: Path, side: int | None = None) -> str:
    """Write a small JPEG copy of a picture, with the ICC profile if the profile is for RGB.

    ``side`` limits the longest side in pixels. Returns the path as a string, for gradio.
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
    """Show errors of derefl and of the file system on the page, until the visitor closes them.

    The message contains the name of the file ``upload`` instead of its path.
    """
    try:
        yield
    except (DereflError, OSError) as error:
        text = printable(str(error))
        if upload:
            text = text.replace(upload, Path(upload).name)
        # gradio renders the text as HTML.
        raise gr.Error(html.escape(text), duration=None, print_exception=False) from error


def printable(name: str) -> str:
    """A text with file names; bytes that are not valid UTF-8 become �."""
    return os.fsencode(name).decode("utf-8", errors="replace")
