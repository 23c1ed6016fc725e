"""Serving the page."""

import socket
from typing import Any

import gradio as gr
import uvicorn
from fastapi import FastAPI
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.routing import Mount

from derefl.web.local import is_loopback

LARGEST_UPLOAD = "500mb"

LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1", "[::1]")


def server(page: gr.Blocks, host: str) -> "PageServer":
    """A server of the page, ready to ``run(sockets=[…])``; Ctrl-C ends it.

    Args:
        page: as :func:`~derefl.web.page.build` gives it.
        host: what the socket is bound to. On loopback, requests under any other name of the
            machine are refused, so that no web page elsewhere can pass itself off as this one.
    """
    app = FastAPI(openapi_url=None)
    if is_loopback(host):
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=[*LOOPBACK_NAMES, host])
    gr.mount_gradio_app(
        app,
        page,
        path="/",
        server_name=host,
        footer_links=[],
        run_history=False,
        show_error=False,  # errors that are not meant for visitors; sentences() shows the others
        max_file_size=LARGEST_UPLOAD,
        ssr_mode=False,
        enable_monitoring=False,
        pwa=False,
        mcp_server=False,
    )
    return PageServer(app, page)


class PageServer(uvicorn.Server):
    """A server that ends although pages are open, each of which holds an endless answer."""

    def __init__(self, app: FastAPI, page: gr.Blocks) -> None:
        super().__init__(uvicorn.Config(app, log_level="error", timeout_graceful_shutdown=5))
        self.page = page
        self.mounted: Any = next(route.app for route in app.routes if isinstance(route, Mount))

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End those answers as gradio's own server does, then do as any server."""
        self.page.close(verbose=False)
        self.mounted.stop_event.set()
        await super().shutdown(sockets)
