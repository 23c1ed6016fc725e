"""The first tab: one photo in, the photo without its reflection out."""

import html
import tempfile
from pathlib import Path
from typing import Any

import gradio as gr

from derefl.errors import ImageError
from derefl.imaging.deep import Picture
from derefl.imaging.files import check_picture, open_picture, save_picture
from derefl.imaging.formats import FORMATS
from derefl.reflection.pipeline import ReflectionRemover
from derefl.web.shown import preview, sentences

HELP = (
    "Drop a photo that was taken through glass. What you download has the size, format, colour "
    "profile and EXIF of your file; the pictures on this page are smaller copies."
)


def remove_tab(model: ReflectionRemover, folder: Path, max_megapixels: float) -> None:
    """Lay out the tab in the page that is being built.

    Args:
        model: shared by all visitors.
        folder: where the files for the visitors are written.
        max_megapixels: a larger photo is refused.
    """
    gr.Markdown(HELP)
    with gr.Row():
        with gr.Column(scale=1, min_width=280):
            upload = gr.File(label="Photo", file_types=[*FORMATS], height=180)
            clean = gr.DownloadButton("Download the photo", variant="primary", interactive=False)
            layer = gr.DownloadButton("Download the reflection", interactive=False)
        with gr.Column(scale=3):
            slider = gr.ImageSlider(
                label="Before and after", buttons=["fullscreen"], interactive=False
            )
            reflection = gr.Image(
                label="What was taken away", buttons=["fullscreen"], interactive=False
            )

    def remove(path: str | None) -> tuple[Any, ...]:
        if path is None:
            return nothing()
        with sentences(path):
            image = open_picture(path, max_megapixels=max_megapixels)
            return separate(model, image, Path(path).name, Path(tempfile.mkdtemp(dir=folder)))

    outputs = [slider, reflection, clean, layer]
    # What belongs to the photo before goes first: an error leaves the outputs as they are.
    # A photo dropped while the one before is still being cleared or taken apart comes after it; by
    # default Gradio would forget it.
    gr.on(
        [upload.upload, upload.clear],
        nothing,
        None,
        outputs,
        queue=False,
        trigger_mode="always_last",
        api_visibility="private",
    ).then(
        remove,
        upload,
        outputs,
        concurrency_limit=1,
        trigger_mode="always_last",
        api_visibility="private",
    )


def separate(model: ReflectionRemover, image: Picture, name: str, folder: Path) -> tuple[Any, ...]:
    """Take a photo apart, write the files for the visitor, and fill the outputs of the tab.

    Args:
        model: takes it apart.
        image: the photo.
        name: of its file; those to download are called after it.
        folder: an empty one, for the files.

    Raises:
        ImageError: memory ran out, or the disk is full.
    """
    clean = name_for(image, folder / f"{Path(name).stem}.clean{Path(name).suffix}")
    layer = clean.with_stem(f"{Path(name).stem}.reflection")
    separation = model.separate(image)
    if lost := save_picture(separation.transmission, clean):
        # gradio shows it as HTML.
        gr.Warning(html.escape(f"The new file is without {', '.join(lost)}"), duration=None)
    save_picture(separation.reflection, layer)
    before = preview(image, folder / "before.jpg")
    after = preview(separation.transmission, folder / "after.jpg")
    taken = preview(separation.reflection, folder / "reflection.jpg")
    return (before, after), taken, button(clean), button(layer)


def name_for(image: Picture, path: Path) -> Path:
    """The path, with another suffix if that format cannot be written or not hold the picture."""
    for suffix in (path.suffix, ".png"):
        try:
            check_picture(image, path.with_suffix(suffix))
        except ImageError:
            continue
        return path.with_suffix(suffix)
    return path.with_suffix(".tif")


def button(path: Path) -> Any:
    """A download button that gives this file."""
    return gr.DownloadButton(value=str(path), interactive=True)


def nothing() -> tuple[Any, ...]:
    """The outputs of the tab while there is no photo."""
    off = gr.DownloadButton(value=None, interactive=False)
    return None, None, off, off
