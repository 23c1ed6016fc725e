"""All code in README and docs runs, or at least fits the current code."""

import ast
import contextlib
import importlib
import inspect
import io
import re
import sys
from collections import Counter
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from PIL import Image

import derefl
from derefl import HashIndex, list_models
from derefl.cli import main, parser
from derefl.zoo.manifest import bundled_file, find_model
from tests.conftest import REPOSITORY
from tests.snippets import PAGES, blocks, commands, inline_commands

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PICTURES = REPOSITORY / "examples" / "pictures"

NOT_RUN = {
    ("docs/offline.md", "asks the Hub"): 1,
    ("docs/scale_out.md", "needs a PostgreSQL"): 1,
    ("docs/scale_out.md", "reads what the example wrote"): 1,
}
"""Python blocks that are checked but not run: page, the reason on the page, number of blocks."""

RUN = ("index", "models", "remove", "scan", "search")
"""Commands that run with the arguments of the pages; other commands are only parsed."""

PARSER = cache(parser)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working folder with all files that the pages mention; small pictures, real weights."""
    monkeypatch.chdir(tmp_path)
    photos = sorted(PICTURES.glob("through_glass/*.jpg"))
    names = ("window.jpg", "query.jpg", "a.jpg", "b.jpg", "photos/1.jpg", "photos/more/2.jpg")
    for number, name in enumerate(names):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        with Image.open(photos[number % len(photos)]) as photo:
            photo.draft("RGB", (192, 128))
            photo.resize((96, 64)).save(name)
    Image.new("L", (96, 64), 255).save("glass.png")
    for run, model in (("mine", "derefl-base"), ("student", "lcdh-student")):
        Path("runs", run).mkdir(parents=True)
        Path("runs", run, "model.safetensors").symlink_to(bundled_file(find_model(model)))
    return tmp_path


def given(page):
    """The names that a page uses without defining them."""
    photos = sorted((PICTURES / "layers").glob("*.jpg"))[:2]
    if page == "README.md":
        return {"x": torch.rand(1, 3, 32, 32), "paths": photos}
    if page == "docs/stream.md":
        return {"chunks": [([photo], [photo.stem]) for photo in photos]}
    return {}


def pages_with(language):
    return [page for page in PAGES if blocks(page, language)]


def test_the_list_of_what_is_not_run_is_complete():
    marked = Counter((page, b.why) for page in PAGES for b in blocks(page, "python") if b.why)
    assert marked == NOT_RUN


@pytest.mark.parametrize("page", pages_with("python"))
def test_python_of_the_docs_runs(page, folder):
    """The blocks of a page share their names, as if typed one after the other."""
    namespace = given(page)
    for block in blocks(page, "python"):
        code = "\n" * block.line + block.code  # so that a traceback has the page's line number
        if block.why:
            check_calls(ast.parse(code, page))
        else:
            exec(compile(code, page, "exec"), namespace)


def check_calls(tree):
    """Check code that does not run: its imports from derefl exist and accept these arguments."""
    ours = {name: getattr(derefl, name) for name in derefl.__all__}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module.split(".")[0] == "derefl":
            module = importlib.import_module(node.module)
            ours |= {alias.name: getattr(module, alias.name) for alias in node.names}
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") in ours:
            signature = inspect.signature(ours[node.func.id])
            signature.bind(*node.args, **{keyword.arg: None for keyword in node.keywords})


@pytest.mark.parametrize("page", [page for page in PAGES if inline_commands(page)])
def test_commands_in_running_text_are_understood(page):
    for call in inline_commands(page):
        check_command([*call, "…"])


def check_command(call):
    """Check a call of a program."""
    program, *arguments = call
    for path in (a for a in arguments if re.match(r"(configs|examples|tests)/[^:]+\.\w+$", a)):
        assert (REPOSITORY / path).is_file(), call
    if program == "derefl":
        error = refused(arguments, PARSER())
        assert error is None, f"{' '.join(call)}: {error}"
    elif program == "make":
        assert f"\n{arguments[0]}:" in (REPOSITORY / "Makefile").read_text(), call
    elif program == "pip":
        extras = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
        for extra in re.findall(r"(?:derefl|\.)\[([\w,]+)\]", " ".join(arguments)):
            assert {*extra.split(",")} <= {*extras["optional-dependencies"]}, call
    elif program == "python" and arguments[0].startswith("examples/benchmarks/"):
        script = importlib.import_module(Path(arguments[0]).stem)
        error = refused(arguments[1:], script.parser())
        assert error is None, f"{' '.join(call)}: {error}"
    elif program == "python" and arguments[0] == "-m":
        assert find_spec(arguments[1]), call


def refused(arguments, parser):
    """The parser's error for these arguments, if any; … stands for one or more values."""
    without = [a for a in arguments if a != "…"]
    errors = [error_of(arguments, parser), error_of(without, parser)]
    missing = errors[1] and re.search(r" (is|are) required", errors[1])
    if None in errors or (len(without) < len(arguments) and missing):
        return None
    return errors[1]


def error_of(arguments, parser):
    """The error that argparse prints; None without an error."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
            parser.parse_args(arguments)
    except SystemExit as end:
        return said.getvalue() if end.code else None
    return None


@pytest.mark.parametrize("page", pages_with("bash"))
def test_commands_of_the_docs_are_understood_and_quick_ones_run(page, folder):
    for call in commands(page, folder):
        check_command(call)
        program, *arguments = call
        if program != "derefl" or arguments[0] not in RUN or {"-", "…"} & {*arguments}:
            continue
        # The lines of a block are often alternatives with the same output.
        writes = "-o" in arguments or "--contact-sheet" in arguments
        if writes and not {"--resume", "--update"} & {*arguments}:
            arguments = [*arguments, "--overwrite"]
        assert main(arguments) == 0, arguments
        if "-o" in arguments and "--dry-run" not in arguments:
            assert Path(arguments[arguments.index("-o") + 1]).exists(), arguments


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The documentation site, built as by `make docs`, with warnings as errors."""
    from mkdocs.commands.build import build
    from mkdocs.config import load_config

    out = tmp_path_factory.mktemp("site")
    build(load_config(str(REPOSITORY / "mkdocs.yml"), site_dir=str(out)))
    return out


def test_the_site_describes_every_public_name(site):
    page = (site / "api" / "derefl.html").read_text(encoding="utf-8")
    names = {name for name in derefl.__all__ if not name.startswith("__")}
    anchors = {anchor.rpartition(".")[2] for anchor in re.findall(r'id="(derefl[\w.]+)"', page)}
    assert names <= anchors
    for name, value in vars(HashIndex).items():
        if not name.startswith("_") and callable(value):
            assert f'id="derefl.hashing.index.hash_index.HashIndex.{name}"' in page


def test_the_site_has_the_manifest_s_numbers(site):
    for entry in list_models():
        page = (site / "models" / f"{entry.name}.html").read_text(encoding="utf-8")
        assert entry.sha256 in page and f"{entry.parameters:,}" in page
        for score in entry.scores:
            assert score["dataset"] in page
            assert all(f"{v:g}" in page for v in score.values() if isinstance(v, float))


def test_the_site_needs_nothing_from_elsewhere(site):
    needed = r'<(?:script|img|iframe)\b[^>]*\bsrc="([^"]+)"|<link\b[^>]*\bhref="([^"]+)"'
    for page in site.rglob("*.html"):
        for found in re.findall(needed, page.read_text(encoding="utf-8")):
            assert not "".join(found).startswith(("http:", "https:", "//")), (page, found)


def test_pages_show_pictures_that_are_there(site):
    for page in site.rglob("*.html"):
        for source in re.findall(r'<img\b[^>]*\bsrc="([^"]+)"', page.read_text(encoding="utf-8")):
            assert source.startswith("data:") or (page.parent / source).is_file(), (page, source)
