"""``derefl demo``: a local web page for reflection removal and search."""

import argparse
import signal
import socket
import webbrowser
from contextlib import suppress
from pathlib import Path
from typing import Any

from derefl.commands.index import LENGTH, MODEL
from derefl.commands.options import add_device, positive
from derefl.errors import MissingExtraError
from derefl.imaging.opening import MAX_MEGAPIXELS
from derefl.web.local import address, is_loopback, listen, visitors_folder

DESCRIPTION = """Serve a web page to remove a photo's reflection and to search a folder of photos.

Nothing leaves this machine, and no other machine reaches the page unless --host says so. Ctrl-C
ends it and deletes what visitors sent."""

EXAMPLES = """examples:
  derefl demo
  derefl demo --port 8080 --open
  derefl demo --host 0.0.0.0        for everybody in your network, without the search of folders
"""

PORT = 7860


def add_parser(subparsers: Any) -> None:
    """Add ``demo`` and its options."""
    parser = subparsers.add_parser(
        "demo",
        help="a web page for both jobs (needs derefl[demo])",
        description=DESCRIPTION,
        epilog=EXAMPLES,
    )
    parser.add_argument(
        "--host",
        metavar="ADDRESS",
        default="127.0.0.1",
        help="the address to listen on (default: %(default)s, which only this machine reaches)",
    )
    parser.add_argument(
        "--port", type=int, default=PORT, help="0 takes any that is free (default: %(default)s)"
    )
    parser.add_argument("--open", action="store_true", help="also open the page in a browser")
    parser.add_argument(
        "--allow-folders",
        action="store_true",
        help="with another --host, let everyone who reaches the page index folders of this "
        "machine and see the photos in them",
    )
    parser.add_argument(
        "--model", metavar="NAME", default="derefl-small", help="removes (default: %(default)s)"
    )
    parser.add_argument(
        "--student", metavar="NAME", default=MODEL, help="searches (default: %(default)s)"
    )
    parser.add_argument(
        "--max-megapixels",
        metavar="N",
        type=positive,
        default=MAX_MEGAPIXELS,
        help="refuse pictures that are larger (default: %(default)g)",
    )
    add_device(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Load the models and serve until Ctrl-C."""
    with (
        suppress(KeyboardInterrupt),
        visitors_folder() as folder,
        listen(args.host, args.port) as bound,
    ):
        serve(args, bound, folder)
    return 0


def serve(args: argparse.Namespace, bound: socket.socket, folder: Path) -> None:
    """Load the models and serve the page.

    Raises:
        MissingExtraError: gradio is not installed.
        KeyboardInterrupt: Ctrl-C, or another signal to end.
    """
    try:
        import gradio  # noqa: F401 (the page needs it)
    except ImportError as error:
        raise MissingExtraError("gradio", "demo", "the web page") from error
    from derefl.hashing.hasher import load_lcdh_student
    from derefl.reflection.remover import load_derefl
    from derefl.web.page import build
    from derefl.web.server import server

    model, hasher = load_derefl(args.model, device=args.device), None
    if is_loopback(args.host) or args.allow_folders:
        hasher = load_lcdh_student(args.student, bits=LENGTH, device=args.device)
    page = build(model, hasher, folder, args.max_megapixels)
    print(f"the page is at {address(bound)} (Ctrl-C ends it)", flush=True)
    if hasher is None:
        print("it has no search of folders; --allow-folders adds it", flush=True)
    if args.open:
        webbrowser.open(address(bound))
    # uvicorn raises its signal again at the end: exit cleanly after that one, too.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    server(page, args.host).run(sockets=[bound])
