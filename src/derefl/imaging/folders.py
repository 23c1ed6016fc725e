"""The pictures among what a user names on the command line."""

import os
import re
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from derefl.errors import ImageError
from derefl.imaging.formats import FORMATS, RAW_SUFFIXES, VIDEO_SUFFIXES

WILD = re.compile(r"[*?\[]")


def find_pictures(
    inputs: Iterable[Path],
    leave_out: Path | None = None,
    *,
    follow_links: bool = False,
    unreadable: Callable[[OSError], object] | None = None,
    passed_over: Callable[[Path], object] | None = None,
) -> Iterator[tuple[Path, Path]]:
    """Every picture, and its path relative to the input that it was found in.

    A folder is searched with its subfolders, and so is every folder that a pattern matches; what
    is hidden, files and folders, is passed over. Paths are relative to the folder, or to the part
    of a pattern before its first wildcard.

    Args:
        inputs: files, taken whatever their name; folders, where the suffix decides; and patterns
            with ``*``, ``?``, ``[…]`` and ``**``, where a suffix that the pattern spells out
            counts too. What is there under a pattern's own name is taken for that.
        leave_out: a folder whose pictures do not count where it lies in an input, because an
            earlier run wrote them.
        follow_links: also search folders that are links. One that was searched already, or that
            holds the input, is not searched again, so that loops end.
        unreadable: told why a folder in an input cannot be searched; None: it is passed over.
        passed_over: told each file that is not a picture by its suffix; hidden files do not count.

    Raises:
        ImageError: an input does not exist, cannot be read, or has no pictures.
    """
    for entry in inputs:
        base, pattern = split_pattern(entry)
        if not pattern and not entry.is_dir():
            yield require_file(entry), Path(entry.name)
            continue
        earlier = real_path(leave_out) if leave_out is not None else None
        if earlier is not None and real_path(base) not in earlier.parents:
            earlier = None
        suffixes = {*FORMATS, Path(pattern).suffix.lower()} - {""}
        files = [
            path
            for path in sorted(search(base, pattern, follow_links, unreadable))
            if os.path.isfile(path)  # noqa: PTH113 (Path's raises without the right to look)
            and not is_hidden(path.relative_to(base))
            and (earlier is None or not real_path(path.parent).is_relative_to(earlier))
        ]
        found = [path for path in files if path.suffix.lower() in suffixes]
        others = [path for path in files if path.suffix.lower() not in suffixes]
        if not found:
            raise nothing_found(entry, base, others)
        if passed_over is not None:
            for path in others:
                passed_over(path)
        yield from ((path, path.relative_to(base)) for path in found)


def kinds(paths: Iterable[Path]) -> dict[str, int]:
    """How many files are raw files, videos, or of another suffix; the most frequent kind first."""
    suffixes = (path.suffix.lower() or "without suffix" for path in paths)
    named = (
        "raw" if s in RAW_SUFFIXES else "video" if s in VIDEO_SUFFIXES else s for s in suffixes
    )
    return dict(Counter(sorted(named)).most_common())


def passed_over_note(paths: Iterable[Path]) -> str:
    """``"; 3 passed over (2 raw, 1 .txt)"``; empty without such files."""
    counts = kinds(paths)
    text = ", ".join(f"{count} {kind}" for kind, count in counts.items())
    return f"; {sum(counts.values())} passed over ({text})" if counts else ""


def nothing_found(entry: Path, base: Path, others: list[Path]) -> ImageError:
    """The error for a folder or a pattern without pictures."""
    if not os.access(base, os.R_OK | os.X_OK):
        return ImageError(f"{entry} cannot be searched: you have no right to; ask for it")
    return ImageError(
        f"{entry} has no pictures, expected files ending in {', '.join(FORMATS)}; "
        f"name another folder{passed_over_note(others)}"
    )


def split_pattern(entry: Path) -> tuple[Path, str]:
    """The folder that a pattern starts from, and the rest; an entry that is there has no rest.

    Raises:
        ImageError: it is not there and is no pattern, or may not be looked at.
    """
    try:
        entry.stat()
        return entry, ""
    except (FileNotFoundError, NotADirectoryError, ValueError):
        pass
    except OSError as error:
        raise ImageError(f"{entry} cannot be read: {error.strerror}") from error
    base, *parts = Path(entry.anchor), *entry.relative_to(entry.anchor).parts
    while parts and (not WILD.search(parts[0]) or os.path.lexists(base / parts[0])):
        base /= parts.pop(0)
    if not parts:
        raise ImageError(f"{entry}: there is no such file or folder; check the spelling")
    return base, "/".join(parts)


def require_file(path: Path) -> Path:
    """The path, if reading it ends: a device or a named pipe may never do so."""
    if not path.is_file():
        raise ImageError(
            f"{path} is a device or a pipe, expected a file or a folder; copy it to a file first"
        )
    return path


def search(
    base: Path, pattern: str, follow_links: bool, unreadable: Callable[[OSError], object] | None
) -> set[Path]:
    """Every file in a folder, or every file that matches a pattern or lies in a folder that does.

    Raises:
        ImageError: the pattern is not well formed.
    """
    if not pattern:
        return set(walk(base, follow_links, unreadable))
    found: set[Path] = set()
    try:
        for path in base.glob(pattern):
            found.update(walk(path, follow_links, unreadable) if path.is_dir() else [path])
    except (ValueError, IndexError, NotImplementedError, re.error) as error:
        raise ImageError(f"{base / pattern} is not a pattern: {error}") from error
    return found


def walk(
    top: Path, follow_links: bool, unreadable: Callable[[OSError], object] | None
) -> Iterator[Path]:
    """Every file below a folder that is not in a hidden one, real folders before linked ones."""
    start = real_path(top)
    seen: set[Path] = set()
    waiting = deque([top])
    while waiting:
        for name, subfolders, files in os.walk(waiting.popleft(), onerror=unreadable):
            folder = Path(name)
            if real_path(folder) in seen:
                subfolders.clear()
                continue
            seen.add(real_path(folder))
            subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
            if follow_links:
                links = [folder / name for name in subfolders if (folder / name).is_symlink()]
                waiting.extend(link for link in links if not start.is_relative_to(real_path(link)))
            yield from (folder / file for file in files)


def is_hidden(path: Path) -> bool:
    """Whether the file or a folder on the way to it is hidden."""
    return any(part.startswith(".") for part in path.parts)


def real_path(path: Path) -> Path:
    """The path without links and dots; unlike ``Path.resolve``, never an error for a loop."""
    return Path(os.path.realpath(path))
