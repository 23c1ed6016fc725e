"""The page: title and tabs."""

from pathlib import Path

import gradio as gr

from derefl.hashing.hasher import Hasher
from derefl.imaging.opening import MAX_MEGAPIXELS
from derefl.reflection.remover import ReflectionRemover
from derefl.web.remove_tab import remove_tab
from derefl.web.search_tab import search_tab

TITLE = """# derefl
Remove the reflections from photos taken through glass, and find photos by what they show."""

KEPT = 3600
"""Seconds that a visitor's files stay on the server; all are deleted when the server ends."""


def build(
    model: ReflectionRemover,
    hasher: Hasher,
    folder: Path,
    max_megapixels: float = MAX_MEGAPIXELS,
) -> gr.Blocks:
    """Build the page, without a server.

    Args:
        model: removes reflections.
        hasher: finds photos.
        folder: folder for the visitors' files. Use gradio's temporary folder, so that gradio
            serves the files without a copy.
        max_megapixels: a larger photo is refused.
    """
    with gr.Blocks(title="derefl", analytics_enabled=False, delete_cache=(60, KEPT)) as page:
        gr.Markdown(TITLE)
        with gr.Tab("Remove a reflection"):
            remove_tab(model, folder, max_megapixels)
        with gr.Tab("Search photos"):
            search_tab(hasher, folder)
    return page
