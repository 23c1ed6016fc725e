"""Find pictures in the files, folders and patterns of a command line."""

import os
import re
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path, PurePath

from derefl.errors import ConfigError, ImageError
from derefl.imaging.formats import FORMATS, RAW_SUFFIXES, VIDEO_SUFFIXES

WILD = re.compile(r"[*?\[]")

EXCLUDED = (
    ".*",  # hidden, such as .thumbnails and .Trash-1000
    *("@eaDir", "#recycle", "#snapshot"),  # Synology
    *("@__thumb", "@Recycle", "@Recently-Snapshot"),  # QNAP
    *("$RECYCLE.BIN", "System Volume Information", "lost+found"),  # Windows, Linux
    "*.lrdata",  # previews of Lightroom
    "*.photoslibrary/[!mo]*",  # Apple Photos, except the folders masters and originals
)
"""Patterns that :func:`find_pictures` skips: hidden files, thumbnails and trash."""


def find_pictures(
    inputs: Iterable[Path],
    leave_out: Path | None = None,
    *,
    exclude: str | Sequence[str] = (),
    follow_links: bool = False,
    unreadable: Callable[[OSError], object] | None = None,
    passed_over: Callable[[Path], object] | None = None,
) -> Iterator[tuple[Path, Path]]:
    """Yield each picture, and its path relative to its input.

    Folders are searched with their subfolders, and so are folders that match a pattern. Files and
    folders that match :data:`EXCLUDED` are skipped, unless they are inputs themselves.
    Paths are relative to the folder, or to the part of a pattern before its first wildcard.

    Args:
        inputs: files with any name; folders, in which the suffix decides; and patterns with ``*``,
            ``?``, ``[…]`` and ``**``, in which a literal suffix of the pattern counts as a picture
            suffix. An existing file with the name of a pattern has priority.
        leave_out: a folder to skip inside the inputs, because it has the output of an earlier run.
        exclude: patterns of files and folders to skip, also if they are inputs. A pattern is
            compared with the end of a path, and ignores case: ``old`` and ``2019/*.png`` match
            ``photos/Old`` and ``photos/2019/a.PNG``.
        follow_links: also search links to folders. A folder is searched only once, so loops end.
        unreadable: called with the error of a folder that cannot be searched; None skips the
            folder silently.
        passed_over: called with each file without a picture suffix, except excluded files.

    Raises:
        ImageError: an input does not exist, cannot be read, or has no pictures; or no input is
            left.
        ConfigError: a pattern in ``exclude`` is empty.
    """
    unwanted = rules([exclude] if isinstance(exclude, str) else exclude)
    everywhere = [*rules(EXCLUDED), *unwanted]
    nothing = True
    for entry in inputs:
        base, pattern = split_pattern(entry)
        if not pattern and matches(entry, unwanted):
            continue
        nothing = False
        if not pattern and not entry.is_dir():
            yield require_file(entry), Path(entry.name)
            continue
        earlier = real_path(leave_out) if leave_out is not None else None
        if earlier is not None and real_path(base) not in earlier.parents:
            earlier = None
        suffixes = {*FORMATS, Path(pattern).suffix.lower()} - {""}
        skip = skipper(base, everywhere)
        files = [
            path
            for path in sorted(search(base, pattern, follow_links, unreadable, skip))
            if os.path.isfile(path)  # noqa: PTH113 (Path.is_file may raise PermissionError)
            and not skip(path)
            and (earlier is None or not real_path(path.parent).is_relative_to(earlier))
        ]
        found = [path for path in files if path.suffix.lower() in suffixes]
        others = [path for path in files if path.suffix.lower() not in suffixes]
        if not found:
            raise nothing_found(entry, base, others, bool(unwanted))
        if passed_over is not None:
            for path in others:
                passed_over(path)
        yield from ((path, path.relative_to(base)) for path in found)
    if nothing and unwanted:
        raise ImageError("all inputs are excluded; remove a pattern, or name another input")


def kinds(paths: Iterable[Path]) -> dict[str, int]:
    """Number of raw files, videos, and files of each other suffix; most frequent kind first."""
    suffixes = (path.suffix.lower() or "without suffix" for path in paths)
    named = (
        "raw" if s in RAW_SUFFIXES else "video" if s in VIDEO_SUFFIXES else s for s in suffixes
    )
    return dict(Counter(sorted(named)).most_common())


def passed_over_note(paths: Iterable[Path]) -> str:
    """``"; 3 passed over (2 raw, 1 .txt)"``; empty without paths."""
    counts = kinds(paths)
    text = ", ".join(f"{count} {kind}" for kind, count in counts.items())
    return f"; {sum(counts.values())} passed over ({text})" if counts else ""


def nothing_found(entry: Path, base: Path, others: list[Path], exclude: bool) -> ImageError:
    """The error for a folder or a pattern without pictures."""
    if not os.access(base, os.R_OK | os.X_OK):
        return ImageError(f"{entry} cannot be searched: no permission to read it")
    what = f"{entry} has no pictures{' left after the exclusions' if exclude else ''}"
    return ImageError(
        f"{what}, expected files ending in {', '.join(FORMATS)}; "
        f"name another folder{passed_over_note(others)}"
    )


def split_pattern(entry: Path) -> tuple[Path, str]:
    """The base folder of a pattern, and the rest; an existing path has no rest."""
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
    """The path, if it is a regular file; a read from a device or a pipe may never end."""
    if not path.is_file():
        raise ImageError(
            f"{path} is a device or a pipe, expected a file or a folder; copy it to a file first"
        )
    return path


def rules(patterns: Iterable[str]) -> list[tuple[str, ...]]:
    """The parts of each pattern, in lower case."""
    found = [PurePath(pattern.lower()).parts for pattern in patterns]
    if not all(found):
        raise ConfigError("got an empty pattern to exclude, expected for example '*.png'")
    return found


def matches(path: Path, rules: Iterable[tuple[str, ...]]) -> bool:
    """Whether a rule matches the end of a path."""
    parts = [part.lower() for part in path.parts]
    return any(
        len(rule) <= len(parts) and all(map(fnmatchcase, parts[-len(rule) :], rule))
        for rule in rules
    )


def skipper(base: Path, rules: Iterable[tuple[str, ...]]) -> Callable[[Path], bool]:
    """A function that tells whether a rule matches a path, or a folder between it and the base."""

    @cache
    def skip(path: Path) -> bool:
        return path != base and (skip(path.parent) or matches(path, rules))

    return skip


def search(
    base: Path,
    pattern: str,
    follow_links: bool,
    unreadable: Callable[[OSError], object] | None,
    skip: Callable[[Path], bool],
) -> set[Path]:
    """All files in a folder; or the files that match a pattern, and those in matching folders."""
    if not pattern:
        return set(walk(base, follow_links, unreadable, skip))
    found: set[Path] = set()
    try:
        for path in base.glob(pattern):
            found.update(walk(path, follow_links, unreadable, skip) if path.is_dir() else [path])
    except (ValueError, IndexError, NotImplementedError, re.error) as error:
        raise ImageError(f"{base / pattern} is not a pattern: {error}") from error
    return found


def walk(
    top: Path,
    follow_links: bool,
    unreadable: Callable[[OSError], object] | None,
    skip: Callable[[Path], bool],
) -> Iterator[Path]:
    """All files below a folder, without skipped folders; real folders come before links."""
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
            subfolders[:] = sorted(name for name in subfolders if not skip(folder / name))
            if follow_links:
                links = [folder / name for name in subfolders if (folder / name).is_symlink()]
                waiting.extend(link for link in links if not start.is_relative_to(real_path(link)))
            yield from (folder / file for file in files)


def real_path(path: Path) -> Path:
    """The path without links and dots; unlike ``Path.resolve``, without an error for a loop."""
    return Path(os.path.realpath(path))
