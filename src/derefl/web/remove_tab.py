"""The first tab: remove the reflection from one photo."""

import html
import tempfile
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import gradio as gr
from PIL import Image
from torch import Tensor

from derefl.errors import ImageError
from derefl.imaging.files import check_picture, open_picture, save_picture
from derefl.imaging.formats import FORMATS
from derefl.imaging.sixteen_bit import Picture
from derefl.reflection.amount import Separation
from derefl.reflection.remover import ReflectionRemover
from derefl.web.painter import mask_of, painter
from derefl.web.shown import rgb, save, sentences

HELP = (
    "Drop a photo that was taken through glass. The downloads keep the size, format, colour "
    "profile and EXIF of your file; this page shows smaller copies."
)

MASK_HELP = (
    "Paint over the reflections that should go. The rest of the photo stays unchanged; without "
    "paint, the whole photo may change."
)


class CachedRemover(ReflectionRemover):
    """A remover for one photo that remembers the results of the network.

    Another strength or mask needs no second run of the network. The results take at most 8 MB.
    """

    def __init__(self, model: ReflectionRemover) -> None:
        super().__init__(model.network)
        self._seen: dict[bytes, Tensor] = {}

    def _one_pass(self, pixels: Tensor) -> Tensor:
        """Like the method of the parent class, but run the network once per input."""
        key = sha256(repr(pixels.shape).encode() + pixels.numpy().tobytes()).digest()
        if key not in self._seen:
            self._seen[key] = super()._one_pass(pixels)
        return self._seen[key]


@dataclass
class Visit:
    """The work of one visitor.

    Attributes:
        path: the uploaded file.
        model: the remover for this photo.
        small: small copies of the photo and its two layers, at full strength.
        wanted: a new object for each new photo, strength or mask. Results for an older object must
            not be shown.
    """

    path: Path = Path()
    model: Any = None
    small: tuple[Image.Image, ...] = ()
    wanted: object = None


def remove_tab(model: ReflectionRemover, folder: Path, max_megapixels: float) -> None:
    """Add the tab to the current page; its files go to ``folder``, which gradio serves."""
    gr.Markdown(HELP)
    state = gr.State(Visit())  # gradio copies it for each visitor
    with gr.Row():
        with gr.Column(scale=1, min_width=280):
            upload = gr.File(label="Photo", file_types=[*FORMATS], height=180)
            found = gr.Textbox(label="Reflection found", interactive=False)
            strength = gr.Slider(
                0, 1, 1, step=0.01, label="Strength", buttons=[], interactive=False
            )
            clean = gr.DownloadButton("Download the photo", variant="primary", interactive=False)
            layer = gr.DownloadButton("Download the reflection", interactive=False)
        with gr.Column(scale=3):
            slider = gr.ImageSlider(
                label="Before and after", buttons=["fullscreen"], interactive=False
            )
            with gr.Accordion("Change only a part", open=False, visible=False) as part:
                gr.Markdown(MASK_HELP)
                mask = painter()
            reflection = gr.Image(
                label="Removed reflection", buttons=["fullscreen"], interactive=False
            )

    shown, buttons = [slider, reflection], [clean, layer]

    def opened(path: Path) -> Picture:
        return open_picture(path, max_megapixels=max_megapixels)

    def begin(visit: Visit, path: str) -> tuple[Any, ...]:
        visit.path, visit.wanted = Path(path), object()
        return None, *nothing()

    def remove(visit: Visit) -> Any:
        path, wanted = visit.path, visit.wanted
        with sentences(str(path)):
            image, own = opened(path), CachedRemover(model)
            layers = own.separate(image)
            small = tuple(map(rgb, (image, layers.transmission, layers.reflection)))
            files = downloads(layers, image, path.name, folder)
        if visit.wanted is not wanted:
            return gr.skip()
        visit.model, visit.small = own, small
        pair, taken = previews(small, 1, None, folder)
        return (
            f"{path.name}: {100 * layers.amount:.1f} %",
            gr.Slider(value=1, interactive=True),
            gr.Accordion(visible=True),
            {"photo": f"gradio_api/file={pair[0]}"},
            *(pair, taken),
            *files,
        )

    def show(visit: Visit, share: float, painted: Any) -> tuple[Any, ...]:
        visit.wanted = object()
        with sentences():
            return *previews(visit.small, share, painted, folder), *nothing()[-2:]

    def write(visit: Visit, share: float, painted: Any) -> Any:
        wanted = visit.wanted
        with sentences(str(visit.path)):
            image = opened(visit.path)
            layers = visit.model.separate(image, strength=share, mask=mask_of(painted, image.size))
            files = downloads(layers, image, visit.path.name, folder)
        return files if visit.wanted is wanted else gr.skip()

    everything = [found, strength, part, mask, *shown, *buttons]
    chosen = [state, strength, mask]
    # "always_last" keeps the last event of several; by default gradio ignores an event while the
    # previous event of its kind is still processed.
    options: Any = {"trigger_mode": "always_last", "api_visibility": "private"}
    # Clear the field, so that the next photo can be dropped there at any time. Clear the outputs of
    # the previous photo, because an error does not change the outputs.
    upload.upload(begin, [state, upload], [upload, *everything], queue=False, **options).then(
        remove, state, everything, concurrency_limit=1, **options
    )
    gr.on([strength.input, mask.input], show, chosen, shown + buttons, **options).success(
        write, chosen, buttons, concurrency_limit=1, **options
    )


def previews(
    small: tuple[Image.Image, ...], strength: float, painted: Any, folder: Path
) -> tuple[tuple[str, str], str]:
    """Files of the photo before and after, and of the reflection, mixed from small copies."""
    before, after, reflection = small
    share = mask_of(painted, before.size) or Image.new("L", before.size, 255)
    share = share.point(lambda value: round(value * strength))
    pictures = (
        before,
        Image.composite(after, before, share),
        Image.composite(reflection, Image.new("RGB", before.size), share),
    )
    names, place = ("before", "after", "reflection"), Path(tempfile.mkdtemp(dir=folder))
    for name, picture in zip(names, pictures, strict=True):
        picture.info = before.info
        save(picture, place / f"{name}.jpg")
    first, second, third = (str(place / f"{name}.jpg") for name in names)
    return (first, second), third


def downloads(layers: Separation, image: Picture, name: str, folder: Path) -> tuple[Any, Any]:
    """Write both layers at full size, and return the buttons to download them."""
    folder = Path(tempfile.mkdtemp(dir=folder))
    clean = name_for(image, folder / f"{Path(name).stem}.clean{Path(name).suffix}")
    layer = clean.with_stem(f"{Path(name).stem}.reflection")
    if lost := save_picture(layers.transmission, clean):
        # gradio renders the text as HTML.
        gr.Warning(html.escape(f"The new file is without {', '.join(lost)}"), duration=None)
    save_picture(layers.reflection, layer)
    return button(clean), button(layer)


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
    idle = gr.Slider(value=1, interactive=False)
    return "", idle, gr.Accordion(visible=False), None, None, None, off, off
