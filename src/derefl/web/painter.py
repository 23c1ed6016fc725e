"""A photo to paint a mask on. It is a plain canvas, because gradio's editor needs WebGL."""

import base64
import io
from typing import Any

import gradio as gr
from PIL import Image, ImageFilter

from derefl.errors import ImageError

SOFT = 200
"""Longest side of a mask / radius of its soft edges."""

HTML = """<div class="tools"><label>Brush <input type="range" min="5" max="150" value="50"></label>
<button>Clear</button></div><div class="sheet"><img alt=""><canvas></canvas></div>"""

CSS = """
.tools, .tools label { display: flex; gap: 1em; align-items: center; margin-bottom: 0.5em; }
.tools button { padding: 0.2em 1em; border-radius: 4px; color: var(--button-secondary-text-color);
    background: var(--button-secondary-background-fill); }
.sheet { position: relative; width: fit-content; margin: auto; }
.sheet img { max-width: 100%; max-height: 60vh; margin: 0; }
.sheet canvas { position: absolute; inset: 0; width: 100%; height: 100%; opacity: 0.5;
    cursor: crosshair; touch-action: none; }"""

JS = """
const [size, clear, photo, canvas] = element.querySelectorAll('input, button, img, canvas');
const brush = canvas.getContext('2d');
let last = null;
const draw = event => {
    const scale = canvas.width / canvas.clientWidth;
    const next = [event.offsetX * scale, event.offsetY * scale];
    Object.assign(brush, {lineWidth: size.value * scale, lineCap: 'round', strokeStyle: 'red'});
    brush.beginPath();
    brush.moveTo(...(last ?? next));
    brush.lineTo(...next);
    brush.stroke();
    last = next;
};
const report = mask => { props.value = {photo: props.value.photo, mask}; trigger('input'); };
canvas.onpointerdown = event => { canvas.setPointerCapture(event.pointerId); draw(event); };
canvas.onpointermove = event => { if (last) draw(event); };
canvas.onlostpointercapture = () => { last = null; report(canvas.toDataURL()); };
clear.onclick = () => { photo.onload(); report(null); };
photo.onload = () => { canvas.width = photo.naturalWidth; canvas.height = photo.naturalHeight; };
const show = () => { photo.src = props.value?.photo ?? ''; };
watch('value', show);
show();"""


def painter() -> gr.HTML:
    """Add the canvas; its event ``input`` reports each stroke.

    The value is a dictionary with ``photo``, an URL, and ``mask``, a data URL or None.
    """
    return gr.HTML(html_template=HTML, css_template=CSS, js_on_load=JS)


def mask_of(value: Any, size: tuple[int, int]) -> Image.Image | None:
    """The painted mask with soft edges, scaled to ``size``; None if nothing is painted."""
    if not value or not value.get("mask"):
        return None
    try:
        content = base64.b64decode(value["mask"].partition(",")[2])
        strokes = Image.open(io.BytesIO(content), formats=["PNG"]).getchannel("A")
    except (OSError, ValueError) as error:
        raise ImageError(
            "got an unreadable mask; press Clear, then paint the mask again"
        ) from error
    soft = strokes.filter(ImageFilter.GaussianBlur(max(strokes.size) / SOFT))
    return soft.resize(size, Image.Resampling.BICUBIC)
