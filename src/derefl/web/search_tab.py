"""The second tab: search a folder of the server by words or by a photo."""

import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr
from PIL import Image

from derefl.errors import DereflError, HashIndexError, ImageError
from derefl.hashing.hasher import Hasher
from derefl.hashing.index.folder import absolute, photo_id
from derefl.hashing.index.hash_index import HashIndex
from derefl.imaging.compare import BLANK
from derefl.imaging.files import open_picture
from derefl.imaging.folders import find_pictures, passed_over_note
from derefl.imaging.formats import FORMATS
from derefl.imaging.sixteen_bit import Picture
from derefl.web.shown import printable, rgb, save, sentences

HELP = (
    "Enter a folder of photos on this computer, then describe a photo or drop a similar one. Click "
    "a photo to open it at full size; its number is the distance. Nothing is written to the folder."
)

HITS = 12
"""Number of photos shown for a query."""

SIDE = 640
"""Longest side of a thumbnail in pixels."""

BROWSER = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".avif", ".bmp")
"""Suffixes of files that browsers show."""

THUMBNAIL = "derefl thumbnail.jpg"

Gallery = list[tuple[str, str]]


@dataclass(frozen=True)
class Searchable:
    """A folder that a visitor has indexed.

    Attributes:
        folder: absolute path.
        index: its ids are paths relative to the folder.
        note: a note about skipped files.
    """

    folder: Path
    index: HashIndex
    note: str = ""


@dataclass
class Shown:
    """A photo in the gallery, the text below it, and the file that the gallery shows for it."""

    path: Path
    text: str
    file: Path

    def enlarge(self) -> None:
        """Show the photo at full size: a copy, or a JPEG if browsers cannot show the format."""
        if self.file.name != THUMBNAIL:
            return
        file = self.file.with_name(printable(self.path.name))
        if file.suffix.lower() in BROWSER:
            self.file = shutil.copyfile(self.path, file)
        else:
            picture = rgb(open_picture(self.path, first_frame=True), full=True)
            self.file = save(picture, file.with_suffix(".jpg"))


def search_tab(hasher: Hasher, folder: Path) -> None:
    """Add the tab to the current page; small copies of photos go to ``folder``."""
    gr.Markdown(HELP)
    state, shown = gr.State(None), gr.State([])
    with gr.Row():
        with gr.Column(scale=3):
            place = gr.Textbox(label="Folder", placeholder=str(Path.home() / "Pictures"))
            start = gr.Button("Index", variant="primary")
        with gr.Column(scale=2):
            report = gr.Textbox(label="Index", lines=4, max_lines=8, interactive=False)
    with gr.Row():
        with gr.Column(scale=3):
            words = gr.Textbox(label="What the photo shows", placeholder="a dog on a beach")
            find = gr.Button("Search", variant="primary")
        with gr.Column(scale=2):
            like = gr.File(label="Or a photo like it", file_types=[*FORMATS], height=140)
    gallery = gr.Gallery(
        label="Nearest first",
        columns=4,
        height="fit-content",
        object_fit="contain",
        buttons=["download", "fullscreen"],
        interactive=False,
    )

    def index(
        text: str,
        progress: gr.Progress = gr.Progress(),  # noqa: B008 (gradio requires this default)
    ) -> tuple[Searchable, str, list[Shown], Gallery]:
        with sentences():
            found, failures = index_folder(
                text,
                hasher,
                lambda done, total: progress((done, total), desc="Reading photos", unit="photos"),
            )
        return found, index_report(found, failures), [], []

    def by_words(text: str, within: Searchable | None) -> Any:
        with sentences():
            if not text.strip():
                raise HashIndexError(
                    "there are no words to search for; enter some, for example: a dog on a beach"
                )
            return hits(within, text, folder)

    def by_photo(path: str, within: Searchable | None) -> Any:
        with sentences(path):
            return hits(within, Path(path), folder)

    def enlarge(found: list[Shown], click: gr.SelectData) -> Gallery:
        with sentences():
            found[click.index].enlarge()
            return gallery_of(found)

    gr.on(
        [start.click, place.submit],
        index,
        place,
        [state, report, shown, gallery],
        show_progress_on=[report],
        concurrency_limit=1,
        api_visibility="private",
    )
    options: Any = {"outputs": [shown, gallery], "api_visibility": "private"}
    gr.on([find.click, words.submit], by_words, [words, state], **options)
    like.upload(by_photo, [like, state], **options)
    gallery.select(enlarge, shown, gallery, show_progress="hidden", api_visibility="private")


def index_folder(
    text: str, hasher: Hasher, progress: Callable[[int, int], None]
) -> tuple[Searchable, list[DereflError]]:
    """Index the photos of a folder and its subfolders; also return the errors of unreadable photos.

    ``text`` is the path that the visitor typed; ``progress`` is called with the number of finished
    photos and of all photos.
    """
    text = text.strip()
    place = Path(os.path.expanduser(text))  # noqa: PTH111 (Path's raises for unknown users)
    if not text or not place.is_dir():
        got = f"{place} is not a folder" if text else "the folder is missing"
        raise ImageError(f"{got}; enter the path of a folder, for example: {Path.home()}")
    home = absolute(place)
    others: set[Path] = set()
    found = find_pictures([home], passed_over=others.add)
    paths = {photo_id(path, home): path for path, _ in found}
    index = hasher.new_index()
    failures = index.add_pictures(paths, progress=progress).failures
    return Searchable(home, index, passed_over_note(others)), failures


def index_report(found: Searchable, failures: list[DereflError]) -> str:
    """The text about a new index for the visitor."""
    count = len(found.index)
    first = f"{count} of {count + len(failures)} photos in {found.folder}{found.note}"
    return printable("\n".join([first, *map(str, failures)]))


def hits(within: Searchable | None, query: Any, folder: Path) -> tuple[list[Shown], Gallery]:
    """The photos nearest to a query; their thumbnails go to a new folder in ``folder``."""
    if within is None:
        raise HashIndexError("no folder is indexed yet; enter a folder above and press Index")
    found = []
    for id, distance in within.index.search(query, HITS):
        path, place = within.folder / str(id), Path(tempfile.mkdtemp(dir=folder))
        thumbnail = rgb(photo(path))
        thumbnail.thumbnail((SIDE, SIDE))
        text = f"{distance}: {printable(str(id))}"
        found.append(Shown(path, text, save(thumbnail, place / THUMBNAIL)))
    return found, gallery_of(found)


def gallery_of(found: list[Shown]) -> Gallery:
    """The value of the gallery."""
    return [(str(shown.file), shown.text) for shown in found]


def photo(path: Path) -> Picture:
    """The photo, or a grey square if the file can no longer be read."""
    try:
        return open_picture(path, first_frame=True)
    except DereflError:
        return Image.new("RGB", (SIDE, SIDE), BLANK)
