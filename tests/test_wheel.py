"""The wheel and the source distribution: complete, and working without the repository."""

import os
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
import zlib
from pathlib import Path

import pytest
from PIL import Image

from derefl import list_models
from tests.conftest import REPOSITORY

NO_NETWORK = """
import sys


def refuse(event, args):
    if event in ("socket.connect", "socket.getaddrinfo"):
        raise SystemExit(f"asked the network: {event} {args}")


sys.addaudithook(refuse)
"""
"""A module that Python imports before all others."""


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """``.gz`` is the source distribution, ``.whl`` the wheel that was built from it."""
    out = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", out, REPOSITORY]
    subprocess.run(command, check=True, capture_output=True, text=True)
    return {path.suffix: path for path in out.iterdir()}


@pytest.fixture(scope="module")
def environment(built, tmp_path_factory):
    """A virtual environment with the wheel, this environment's other packages, and no network."""
    folder = tmp_path_factory.mktemp("clean")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    python = folder / "bin" / "python"
    install = ["install", "--quiet", "--no-index", "--no-deps", built[".whl"]]
    subprocess.run([sys.executable, "-m", "pip", "--python", python, *install], check=True)
    (packages,) = (folder / "lib").glob("python*/site-packages")
    # A path in a .pth file is searched last, and .pth files in it, for example of an editable
    # derefl, are not read.
    others = sysconfig.get_path("purelib")
    (packages / "others.pth").write_text(f"import no_network\n{others}\n")
    (packages / "no_network.py").write_text(NO_NETWORK)
    return folder


def run(environment, folder, *command):
    """Run a program of the environment in a folder; returns what it printed."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "HF_"))}
    program, *arguments = command
    done = subprocess.run(
        [environment / "bin" / program, *arguments],
        cwd=folder,
        env={**clean, "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_wheel_is_complete_and_small(built):
    names = {*zipfile.ZipFile(built[".whl"]).namelist()}
    weights = {f"derefl/{entry.where.bundled}" for entry in list_models()}
    cards = {f"derefl/zoo/cards/{entry.kind}.md" for entry in list_models()}
    others = ("weights_manifest.json", "py.typed", "hashing/vocabulary.txt")
    assert {*weights, *cards, *(f"derefl/{name}" for name in others)} <= names
    assert built[".whl"].stat().st_size < 60_000_000


def test_the_wheel_that_comes_from_the_source_distribution_has_the_files_of_the_tree(built):
    with zipfile.ZipFile(built[".whl"]) as file:
        packed = {i.filename: i.CRC for i in file.infolist() if i.filename.startswith("derefl/")}
    manifest = (REPOSITORY / "weights_manifest.json").read_bytes()
    assert packed.pop("derefl/weights_manifest.json") == zlib.crc32(manifest)
    sources = REPOSITORY / "src"
    assert packed == {
        path.relative_to(sources).as_posix(): zlib.crc32(path.read_bytes())
        for path in (sources / "derefl").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    with tarfile.open(built[".gz"]) as file:
        top = {Path(name).parts[1] for name in file.getnames() if len(Path(name).parts) > 1}
    assert {"src", "tests", "docs", "examples", "mkdocs.yml", "Makefile", "README.md"} <= top


def test_the_environment_has_the_wheel_but_no_repository_and_no_network(environment, tmp_path):
    where = "import derefl, sys; print(derefl.__file__); print(*sys.path, sep='\\n')"
    file, *paths = run(environment, tmp_path, "python", "-c", where).splitlines()
    assert Path(file).is_relative_to(environment)
    assert not any(path.startswith(str(REPOSITORY / "src")) for path in paths)
    ask = "import socket\ntry: socket.create_connection(('localhost', 9))\n"
    ask += "except SystemExit as refused: print(refused)"
    assert "asked the network" in run(environment, tmp_path, "python", "-c", ask)


def test_remove_works_offline_from_the_wheel(environment, tmp_path):
    photo = REPOSITORY / "examples" / "pictures" / "through_glass" / "wine.jpg"
    with Image.open(photo) as image:
        image.resize((160, 96)).save(tmp_path / "window.jpg")
    run(environment, tmp_path, "derefl", "remove", "window.jpg", "-o", "clean.png")
    with Image.open(tmp_path / "clean.png") as clean, Image.open(tmp_path / "window.jpg") as image:
        assert clean.size == (160, 96) and clean.tobytes() != image.tobytes()
