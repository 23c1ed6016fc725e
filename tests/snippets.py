"""Find the code blocks in README and docs, and parse them as a shell and Python do."""

import re
import subprocess
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import REPOSITORY

PAGES = sorted(
    path.relative_to(REPOSITORY).as_posix()
    for path in (
        REPOSITORY / "README.md",
        REPOSITORY / "CONTRIBUTING.md",
        *(REPOSITORY / "docs").rglob("*.md"),
    )
)

BLOCK = re.compile(
    r"^(?:<!-- not run: (?P<why>[^\n]+) -->\n)?```(?P<language>\w+)\n(?P<code>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
INLINE = re.compile(r"(?<!`)`((?:derefl|python) [^`\n]+)`(?!`)")

PROGRAMS = ("derefl", "make", "pip", "pytest", "python")
"""Programs whose calls in bash blocks are recorded; other programs do not exist there."""

STUB = """#!/bin/bash
printf '%s\\x1f' "${0##*/}" "$@" >> "$LOG"
printf '\\x1e' >> "$LOG"
"""


@dataclass(frozen=True)
class Block:
    """A block of code.

    Attributes:
        language: ``python``, ``bash`` …
        code: its lines.
        line: number of its first line in the page.
        why: the reason why the block is not run, from a comment before it:
            ``<!-- not run: WHY -->``.
    """

    language: str
    code: str
    line: int
    why: str | None


def blocks(page: str, language: str) -> list[Block]:
    """All blocks of a page in that language."""
    text = (REPOSITORY / page).read_text(encoding="utf-8")
    return [
        Block(
            found["language"], found["code"], text[: found.start("code")].count("\n"), found["why"]
        )
        for found in BLOCK.finditer(text)
        if found["language"] == language
    ]


def commands(page: str, folder: Path) -> list[list[str]]:
    """The calls of :data:`PROGRAMS` in a page's bash blocks, as bash expands them in ``folder``.

    Fake programs write their arguments to a file.
    """
    code = "\n".join(block.code for block in blocks(page, "bash"))
    stubs, log = folder / "stubs", folder / "log"
    stubs.mkdir()
    for name in PROGRAMS:
        (stubs / name).write_text(STUB)
        (stubs / name).chmod(0o755)
    log.touch()
    subprocess.run(
        ["/bin/bash", "-c", code],
        cwd=folder,
        env={"PATH": str(stubs), "LOG": str(log)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )
    calls = [call.split("\x1f")[:-1] for call in log.read_text().split("\x1e")[:-1]]
    # A call that a wrong redirection or quote hides would never be checked.
    written = re.findall(rf"(?:^|\| )({'|'.join(PROGRAMS)}) ", code, re.MULTILINE)
    assert Counter(name for name, *_ in calls) >= Counter(written), (page, calls)
    return calls


def inline_commands(page: str) -> list[list[str]]:
    """Commands in running text, like ``derefl remove … --reflection``, split at spaces."""
    text = BLOCK.sub("", (REPOSITORY / page).read_text(encoding="utf-8"))
    return [code.split() for code in INLINE.findall(text)]
