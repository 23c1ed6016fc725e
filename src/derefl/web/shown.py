"""Small pictures and error messages for the page."""

import html
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import gradio as gr
from PIL import Image

from derefl.errors import DereflError
from derefl.imaging.compare import RGB_MODES, panel
from derefl.imaging.files import save_picture
from derefl.imaging.sixteen_bit import Picture
from derefl.imaging.tensors import to_rgb


def rgb(image: Picture, *, full: bool = False) -> Image.Image:
    """An RGB copy of a picture, small or in full size, with the ICC profile if it is for RGB."""
    copy = to_rgb(image) if full else panel(image)
    profile = image.info.get("icc_profile") if image.mode in RGB_MODES else None
    copy.info = {"icc_profile": profile} if profile else {}
    return copy


def save(image: Image.Image, path: Path) -> Path:
    """Write a JPEG for the page."""
    save_picture(image, path)
    return path


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
