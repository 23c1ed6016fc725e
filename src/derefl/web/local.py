"""A temporary folder and a socket for the page. This module does not import gradio."""

import ipaddress
import os
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from derefl.errors import ConfigError


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


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a server bound to ``host``."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 means any free port.

    Raises:
        ConfigError: the port is in use or out of range, or the address is not of this machine.
    """
    if not 0 <= port < 1 << 16:
        raise ConfigError(f"got the port {port}, expected 0 to 65535; choose another --port")
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address[:2], family=family)
    except (OSError, UnicodeError) as error:  # UnicodeError: the host name is too long for DNS
        raise ConfigError(
            f"cannot listen on {host} port {port} ({error}); choose another --port, or an address "
            "of this machine as --host"
        ) from error


def address(bound: socket.socket) -> str:
    """The URL of the server on a socket."""
    host, port = bound.getsockname()[:2]
    if ipaddress.ip_address(host).is_unspecified:
        host = socket.gethostname()
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/"
