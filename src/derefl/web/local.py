"""A temporary folder and a socket for the page. This module does not import gradio."""

import os
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from derefl.errors import ConfigError

HOST = "127.0.0.1"
"""Only this machine can reach the page."""


@contextmanager
def visitors_folder() -> Iterator[Path]:
    """A temporary folder for the files of the visitors; it is deleted at the end.

    Enter this context before you import gradio, so that gradio stores all its files here too.
    """
    before = os.environ.get("GRADIO_TEMP_DIR")
    # A thread may still write a file when the server ends; the server must end anyway.
    with tempfile.TemporaryDirectory(prefix="derefl-demo-", ignore_cleanup_errors=True) as name:
        os.environ["GRADIO_TEMP_DIR"] = str(Path(name).resolve())
        try:
            yield Path(name).resolve()
        finally:
            if before is None:
                del os.environ["GRADIO_TEMP_DIR"]
            else:
                os.environ["GRADIO_TEMP_DIR"] = before


def listen(port: int) -> socket.socket:
    """A listening socket; port 0 means any free port."""
    try:
        return socket.create_server((HOST, port))
    except (OSError, OverflowError) as error:
        raise ConfigError(
            f"cannot listen on port {port} ({error}); choose another --port from 0 to 65535"
        ) from error


def address(bound: socket.socket) -> str:
    """The URL of the server on a socket."""
    return f"http://{HOST}:{bound.getsockname()[1]}/"
