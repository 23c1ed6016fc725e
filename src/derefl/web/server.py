"""The web server of the page."""

import socket
from typing import Any

import gradio as gr
import uvicorn
from fastapi import FastAPI
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.routing import Mount

from derefl.web.local import HOST

LARGEST_UPLOAD = "500mb"

NAMES = ("localhost", HOST)
"""Requests with another host name are refused, as a protection against DNS rebinding by other web
pages."""


def server(page: gr.Blocks) -> "PageServer":
    """A server for the page; start it with ``run(sockets=[…])``. Ctrl-C ends the server."""
    app = FastAPI(openapi_url=None)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=list(NAMES))
    gr.mount_gradio_app(
        app,
        page,
        path="/",
        server_name=HOST,
        footer_links=[],
        run_history=False,
        show_error=False,  # hide internal errors; sentences() shows errors that help visitors
        max_file_size=LARGEST_UPLOAD,
        ssr_mode=False,
        enable_monitoring=False,
        pwa=False,
        mcp_server=False,
    )
    return PageServer(app, page)


class PageServer(uvicorn.Server):
    """A server that ends while pages are open; each open page holds a response without end."""

    def __init__(self, app: FastAPI, page: gr.Blocks) -> None:
        super().__init__(uvicorn.Config(app, log_level="error", timeout_graceful_shutdown=5))
        self.page = page
        self.mounted: Any = next(route.app for route in app.routes if isinstance(route, Mount))

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End the open responses, as gradio's server does, then shut down."""
        self.page.close(verbose=False)
        self.mounted.stop_event.set()
        await super().shutdown(sockets)
