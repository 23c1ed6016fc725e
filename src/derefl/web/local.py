"""What the page needs of this machine: a temporary folder and a socket. gradio is not imported."""

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
    """A temporary folder for what visitors send and get; it goes in the end.

    It is gradio's as well, all of it if gradio is imported later than this.
    """
    before = os.environ.get("GRADIO_TEMP_DIR")
    # What a thread still writes when the server ends must not keep it from ending.
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
    """Whether only this machine reaches a server bound to ``host``."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def listen(host: str, port: int) -> socket.socket:
    """A socket that waits for visitors; port 0 is any free one.

    Raises:
        ConfigError: the port is taken or none, or the address is not one of this machine.
    """
    if not 0 <= port < 1 << 16:
        raise ConfigError(f"got the port {port}, expected 0 to 65535; choose another --port")
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address[:2], family=family)
    except (OSError, UnicodeError) as error:  # UnicodeError: a name that is too long for DNS
        raise ConfigError(
            f"cannot listen on {host} port {port} ({error}); choose another --port, or an address "
            "of this machine as --host"
        ) from error


def address(bound: socket.socket) -> str:
    """What to type in a browser to reach the server of a socket."""
    host, port = bound.getsockname()[:2]
    if ipaddress.ip_address(host).is_unspecified:
        host = socket.gethostname()
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/"
