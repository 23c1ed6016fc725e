"""The first tab: remove the reflection from one photo."""

import html
import tempfile
from pathlib import Path
from typing import Any

import gradio as gr

from derefl.errors import ImageError
from derefl.imaging.files import check_picture, open_picture, save_picture
from derefl.imaging.formats import FORMATS
from derefl.imaging.sixteen_bit import Picture
from derefl.reflection.remover import ReflectionRemover
from derefl.web.shown import preview, sentences

HELP = (
    "Drop a photo that was taken through glass. The downloads keep the size, format, colour "
    "profile and EXIF of your file; this page shows smaller copies."
)


def remove_tab(model: ReflectionRemover, folder: Path, max_megapixels: float) -> None:
    """Add the tab to the current page; its files go to ``folder``, which gradio serves."""
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
                label="Removed reflection", buttons=["fullscreen"], interactive=False
            )

    def remove(path: str | None) -> tuple[Any, ...]:
        if path is None:
            return nothing()
        with sentences(path):
            image = open_picture(path, max_megapixels=max_megapixels)
            return separate_photo(model, image, Path(path).name, Path(tempfile.mkdtemp(dir=folder)))

    outputs = [slider, reflection, clean, layer]
    # Clear the outputs of the previous photo first, because an error does not change the outputs.
    # "always_last" keeps a photo that is dropped while the previous photo is still processed; by
    # default gradio ignores the new photo.
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


def separate_photo(
    model: ReflectionRemover, image: Picture, name: str, folder: Path
) -> tuple[Any, ...]:
    """Separate a photo, write the visitor's files to a folder, and return the tab's outputs."""
    clean = name_for(image, folder / f"{Path(name).stem}.clean{Path(name).suffix}")
    layer = clean.with_stem(f"{Path(name).stem}.reflection")
    separation = model.separate(image)
    if lost := save_picture(separation.transmission, clean):
        # gradio renders the text as HTML.
        gr.Warning(html.escape(f"The new file is without {', '.join(lost)}"), duration=None)
    save_picture(separation.reflection, layer)
    before = preview(image, folder / "before.jpg")
    after = preview(separation.transmission, folder / "after.jpg")
    taken = preview(separation.reflection, folder / "reflection.jpg")
    return (before, after), taken, button(clean), button(layer)


def name_for(image: Picture, path: Path) -> Path:
    """The path, with another suffix if its format cannot store the picture."""
    for suffix in (path.suffix, ".png"):
        try:
            check_picture(image, path.with_suffix(suffix))
        except ImageError:
            continue
        return path.with_suffix(suffix)
    return path.with_suffix(".tif")


def button(path: Path) -> Any:
    """A download button for this file."""
    return gr.DownloadButton(value=str(path), interactive=True)


def nothing() -> tuple[Any, ...]:
    """The outputs of the tab without a photo."""
    off = gr.DownloadButton(value=None, interactive=False)
    return None, None, off, off
