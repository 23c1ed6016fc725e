"""Print texts that contain file names: escape codes in a name must not reach a terminal."""

import re
import sys
from contextlib import suppress
from typing import Any

CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
"""Control characters, and marks that change the direction of writing."""


class Harmless:
    """An output stream that shows control characters like ``\\x1b`` if it is a terminal.

    A newline inside a text is part of a file name. Print several lines with ``sep="\\n"``.
    """

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write a part of a line, or the newline at its end."""
        if text != "\n" and self._stream.isatty():
            text = CONTROL.sub(lambda match: match[0].encode("unicode_escape").decode(), text)
        return self._stream.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def print_error(message: str, status: int = 1) -> int:
    """Print an error or a warning in one line on stderr and return the exit status."""
    with suppress(OSError):
        line = f"derefl: {' '.join(message.splitlines())}"
        print(line, file=Harmless(sys.stderr), flush=True)
    return status
