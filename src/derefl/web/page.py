"""The page, its two tabs, and its web server."""

import socket
from pathlib import Path
from typing import Any

import gradio as gr
import uvicorn
from fastapi import FastAPI
from fastapi.middleware.trustedhost import TrustedHostMiddleware
from fastapi.routing import Mount

from derefl.hashing.hasher import Hasher
from derefl.imaging.opening import MAX_MEGAPIXELS
from derefl.reflection.remover import ReflectionRemover
from derefl.web.local import HOST
from derefl.web.remove_tab import remove_tab
from derefl.web.search_tab import search_tab

TITLE = """# derefl
Remove the reflections from photos taken through glass, and find photos by what they show."""

KEPT = 3600
"""Seconds that a visitor's files stay on the server; all are deleted when the server ends."""

LARGEST_UPLOAD = "500mb"

CSS = "@media (max-width: 640px) {.grid-container {grid-template-columns: 1fr 1fr !important}}"
"""Two columns of found photos on a narrow screen; gradio would cut off the others."""

NAMES = ("localhost", HOST)
"""Requests with another host name are refused, as a protection against DNS rebinding by other web
pages."""


def build(
    model: ReflectionRemover, hasher: Hasher, folder: Path, max_megapixels: float = MAX_MEGAPIXELS
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


class PageServer(uvicorn.Server):
    """A server for the page; start it with ``run(sockets=[…])``. Ctrl-C ends the server.

    It also ends while pages are open, although each open page holds a response without end.
    """

    def __init__(self, page: gr.Blocks) -> None:
        app = FastAPI(openapi_url=None)
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=list(NAMES))
        gr.mount_gradio_app(
            app,
            page,
            path="/",
            server_name=HOST,
            footer_links=[],
            css=CSS,
            run_history=False,
            show_error=False,  # hide internal errors; sentences() shows errors that help visitors
            max_file_size=LARGEST_UPLOAD,
            ssr_mode=False,
            enable_monitoring=False,
            pwa=False,
            mcp_server=False,
        )
        super().__init__(uvicorn.Config(app, log_level="error", timeout_graceful_shutdown=5))
        self.page = page
        self.mounted: Any = next(route.app for route in app.routes if isinstance(route, Mount))

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End the open responses, as gradio's server does, then shut down."""
        self.page.close(verbose=False)
        self.mounted.stop_event.set()
        await super().shutdown(sockets)
