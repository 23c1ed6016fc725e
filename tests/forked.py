"""``derefl`` as a process, forked from this one: a new Python would import torch for seconds."""

import multiprocessing
import os
import sys
import tempfile

from derefl.cli import main

FORK = multiprocessing.get_context("fork")


class Forked:
    """A running ``derefl COMMAND``, with these file descriptors as its standard streams."""

    def __init__(self, *command: str, stdin: int = 0, stdout: int = 1) -> None:
        self.errors = tempfile.TemporaryFile("w+")  # noqa: SIM115
        streams = (stdin, stdout, self.errors.fileno())
        self.process = FORK.Process(target=program, args=(command, streams))
        self.process.start()

    def wait(self) -> tuple[int | None, str]:
        """The exit status and standard error."""
        self.process.join()
        self.errors.seek(0)
        with self.errors:
            return self.process.exitcode, self.errors.read()


def program(command: tuple[str, ...], streams: tuple[int, ...]) -> None:
    """What ``python -m derefl`` does."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        os.dup2(streams[number], number)
        setattr(sys, name, os.fdopen(number, "w" if number else "r", closefd=False))
    sys.argv = ["derefl", *command]
    sys.exit(main())
