"""``derefl demo``: a local web page for reflection removal and search."""

import argparse
import socket
import webbrowser
from contextlib import suppress
from pathlib import Path

from derefl.commands.options import add_device, add_max_megapixels
from derefl.errors import needs
from derefl.hashing.index.base import MODEL
from derefl.hashing.index.folder import LENGTH
from derefl.web.local import address, listen, visitors_folder

HELP = "serve a web page for photos and search (needs derefl[demo])"

DESCRIPTION = """Serve a web page that removes the reflection from a photo and searches a folder.

Only this machine can reach the page, and no data leaves the machine. Ctrl-C stops the page and
deletes the uploaded files."""

EXAMPLES = """examples:
  derefl demo
  derefl demo --port 8080 --open
"""

PORT = 7860


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``demo``."""
    parser.add_argument(
        "--port", type=int, default=PORT, help="0 means any free port (default: %(default)s)"
    )
    parser.add_argument("--open", action="store_true", help="also open the page in a browser")
    parser.add_argument(
        "--model",
        metavar="NAME",
        default="derefl-base",
        help="model that removes reflections (default: %(default)s)",
    )
    parser.add_argument(
        "--student",
        metavar="NAME",
        default=MODEL,
        help="model that searches photos (default: %(default)s)",
    )
    add_max_megapixels(parser)
    add_device(parser)


def run(args: argparse.Namespace) -> int:
    """Load the models and serve until Ctrl-C, which uvicorn raises again at the end."""
    with suppress(KeyboardInterrupt), visitors_folder() as folder, listen(args.port) as bound:
        serve(args, bound, folder)
    return 0


def serve(args: argparse.Namespace, bound: socket.socket, folder: Path) -> None:
    """Load the models and serve the page."""
    with needs("gradio", "demo", "the web page"):
        import gradio  # noqa: F401 (the page needs it)
    from derefl.hashing.hasher import load_lcdh_student
    from derefl.reflection.remover import load_derefl
    from derefl.web.page import PageServer, build

    model = load_derefl(args.model, device=args.device)
    hasher = load_lcdh_student(args.student, bits=LENGTH, device=args.device)
    page = build(model, hasher, folder, args.max_megapixels)
    print(f"the page is at {address(bound)} (press Ctrl-C to stop)", flush=True)
    if args.open:
        webbrowser.open(address(bound))
    PageServer(page).run(sockets=[bound])
