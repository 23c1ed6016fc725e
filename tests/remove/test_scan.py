"""``derefl scan``: the amounts of a folder."""

import json
from pathlib import Path

import pytest

from derefl.cli import main
from derefl.imaging.compare import contact_sheet
from derefl.imaging.files import open_picture
from derefl.reflection.remover import load_derefl
from tests.remove.tools import error_lines, save


@pytest.fixture
def scan(checkpoint, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for seed, name in enumerate(("a.png", "b.jpg", "deep/c.png")):
        save(f"photos/{name}", seed=seed)
    Path("photos/notes.txt").write_text("not a picture")
    return lambda *args: main(["scan", "photos", "--model", checkpoint, *args])


def test_most_reflection_comes_first(scan, checkpoint, capsys):
    model = load_derefl(checkpoint)
    amounts = {str(p): model.separate(p).amount for p in Path("photos").rglob("*.[jp][pn]g")}
    expected = sorted(amounts, key=lambda path: -amounts[path])
    assert scan() == 0
    head, *lines, last = capsys.readouterr().out.splitlines()
    assert head == "amount  photo"
    assert lines == [f"{amounts[path]:.4f}  {path}" for path in expected]
    assert last == "3 of 3 photos scanned; 1 passed over (1 .txt)"
    Path("photos/broken.jpg").write_bytes(b"?")
    assert scan("-k", "2", "--json", "--contact-sheet", "sheet.png", "--workers", "2") == 1
    streams = capsys.readouterr()
    (line,) = streams.err.splitlines()
    assert line.startswith("derefl: photos/broken.jpg is not a picture")
    result = json.loads(streams.out)
    assert [photo["path"] for photo in result["photos"]] == expected[:2]
    assert result["photos"][0]["amount"] == pytest.approx(amounts[expected[0]], abs=6e-5)
    assert [photo["path"] for photo in result["failed"]] == ["photos/broken.jpg"]
    assert result["passed_over"] == {".txt": 1}
    assert open_picture("sheet.png").size == contact_sheet([("", None)] * 2, "").size


def test_a_photo_in_two_inputs_is_listed_once(scan, checkpoint, capsys):
    assert main(["scan", "photos/a.png", "photos/a.png", "--model", checkpoint]) == 0
    assert capsys.readouterr().out.endswith(" photos/a.png\n1 of 1 photos scanned\n")


def test_the_sheet_has_names_and_is_not_written_without_photos(scan, monkeypatch):
    labels = []

    def sheet(tiles, title):
        labels.extend(label for label, _ in tiles)
        return contact_sheet(tiles, title)

    monkeypatch.setattr("derefl.commands.sheet.contact_sheet", sheet)
    assert scan("--contact-sheet", "sheet.png", "--exclude", "deep") == 0
    assert sorted(label[8:] for label in labels) == ["a.png", "b.jpg"]
    save("sheet.png")
    before = Path("sheet.png").read_bytes()
    for photo in ("a.png", "b.jpg"):
        Path("photos", photo).write_bytes(b"?")
    assert scan("--contact-sheet", "sheet.png", "--overwrite", "--exclude", "deep") == 1
    assert Path("sheet.png").read_bytes() == before


def test_a_sheet_that_exists_is_refused_before_any_work(scan, monkeypatch, capsys):
    save("sheet.png")
    monkeypatch.setattr("derefl.reflection.remover.load_derefl", None)
    assert scan("--contact-sheet", "sheet.png") == 1
    assert "sheet.png already exists" in error_lines(capsys)[0]
