"""Exported models give torch's numbers for any size, and run without torch."""

import json
import subprocess
import sys

import numpy as np
import onnx
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import load_file
from tokenizers import Tokenizer

from derefl import __version__, load_lcdh_student
from derefl.cli import main
from derefl.errors import CheckpointError, MissingExtraError
from derefl.imaging.tensors import to_tensor
from derefl.reflection.any_size import SMALLER
from derefl.zoo import file_sha256, find_model
from derefl.zoo.export import Graph, cpu_session, to_onnx
from tests.conftest import REPOSITORY

FIXTURES = REPOSITORY / "tests" / "fixtures"
GLASS = REPOSITORY / "examples" / "pictures" / "through_glass"


@pytest.fixture(scope="module")
def folder(tmp_path_factory, checkpoint):
    """The graphs of a tiny remover and of the shipped student; a large remover takes 30 seconds."""
    folder = tmp_path_factory.mktemp("onnx")
    for source, name in ((checkpoint, "derefl-base"), ("lcdh-student", "lcdh-student")):
        assert main(["export", source, "-o", str(folder / f"{name}.onnx")]) == 0
    return folder


# dereflect runs the network once on pictures of up to 192×256 pixels; the minimum is 16×16.
@pytest.mark.parametrize("shape", [(2, 210, 261), (3, 16, 40)])
def test_pictures_of_any_size_agree_with_torch(folder, tiny, shape):
    photo = to_tensor(Image.open(GLASS / "coffee.jpg"))
    views = torch.cat([photo, photo.flip(-1), photo.flip(-2)])[: shape[0]]
    x = F.interpolate(views, shape[1:], mode="area")
    session = cpu_session(folder / "derefl-base.onnx")
    clean, *layers = map(torch.from_numpy, session.run(None, {"image": x.numpy()}))
    with torch.inference_mode():
        expected = tiny(x)
    for got, layer in zip(layers, expected, strict=True):
        torch.testing.assert_close(got, layer, rtol=0, atol=1e-4)
    torch.testing.assert_close(clean, tiny.transmission(x).clamp(0, 1), rtol=0, atol=1e-4)
    assert (clean - x).abs().max() > 0.02  # the model has an effect
    once = expected.transmission.clamp(0, 1)
    assert (shape[1] * shape[2] <= SMALLER) == bool((clean - once).abs().max() < 1e-3)


def test_the_shipped_student_gives_the_stored_values_and_packs_their_signs(folder):
    stored = load_file(FIXTURES / "lcdh-student.safetensors")
    image = stored["images"].numpy()[:, None] / np.float32(255)
    inputs = {"image": image.repeat(2, axis=1), "text": stored["tokens"].numpy()}  # equal views
    for part, given in inputs.items():
        session = cpu_session(folder / f"lcdh-student-{part}.onnx")
        code, values = session.run(None, {session.get_inputs()[0].name: given})
        np.testing.assert_allclose(values, stored[f"{part}_codes"].numpy(), rtol=0, atol=1e-4)
        np.testing.assert_array_equal(code, np.packbits(values > 0, axis=1))


def test_the_tokenizer_and_the_text_graph_code_as_the_package_does(folder):
    texts = ["A dog runs on the beach!", "Café – naïve façade", "", "zzyzx " * 100]
    expected = load_lcdh_student(bits=128).encode_text(texts)
    tokenizer = Tokenizer.from_file(str(folder / "lcdh-student-tokenizer.json"))
    tokens = np.array([encoded.ids for encoded in tokenizer.encode_batch(texts)])
    code, _ = cpu_session(folder / "lcdh-student-text.onnx").run(None, {"tokens": tokens})
    assert tokens.shape == (4, 64)
    np.testing.assert_array_equal(code, expected)


def test_the_example_runs_without_torch_and_codes_as_the_package_does(
    folder, examples, tmp_path, tiny
):
    program = (
        "import runpy, sys\nsys.argv = sys.argv[1:]\nit = runpy.run_path(sys.argv[0])\n"
        "assert not {'torch', 'derefl'} & {*sys.modules}\n"
        "print('codes', it['codes'].tolist())"
    )
    out = subprocess.run(
        [sys.executable, "-c", program, str(examples / "onnx_without_torch.py"), str(folder)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert out.returncode == 0, out.stderr
    first, *hits, codes = out.stdout.splitlines()
    assert first == "without reflections: clean.png" and len(hits) == 3
    photo = min(examples.glob("pictures/through_glass/*.jpg"))
    ours = np.asarray(tiny.dereflect(Image.open(photo)), np.int16)
    assert abs(np.asarray(Image.open(tmp_path / "clean.png"), np.int16) - ours).max() <= 1
    paths = sorted(examples.glob("pictures/**/*.jpg"))
    expected = load_lcdh_student(bits=64).encode_image(paths)
    assert json.loads(codes.removeprefix("codes ")) == expected.tolist()


def test_metadata_of_the_files(folder, checkpoint):
    def said(name):
        return {p.key: p.value for p in onnx.load(folder / name).metadata_props}

    own, shipped = said("derefl-base.onnx"), said("lcdh-student-text.onnx")
    entry = find_model("lcdh-student")
    assert (shipped["name"], shipped["kind"], shipped["sha256"]) == (
        entry.name,
        entry.kind,
        entry.sha256,
    )
    assert (shipped["licence"], shipped["derefl"]) == (entry.licence, __version__)
    assert json.loads(shipped["config"]) == entry.config
    assert (own["name"], own["kind"]) == (checkpoint, "derefl")
    assert own["sha256"] == file_sha256(checkpoint) and "not known" in own["licence"]
    assert "at least 16" in own["sizes"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["lcdh-teacher", "-o", "a.onnx"], "export its student"),
        (["derefl-bas", "-o", "a.onnx"], "Did you mean 'derefl-base'?"),
        (["derefl-base", "-o", "a.pt"], "ends in .onnx"),
        (["lcdh-student", "-o", "there.onnx"], "there-text.onnx already exists; "),
    ],
)
def test_mistakes_are_refused(arguments, words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there-text.onnx").write_text("mine")
    assert main(["export", *arguments]) == 1
    assert words in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["there-text.onnx"]
    assert (tmp_path / "there-text.onnx").read_text() == "mine"


class DoublesBatches(torch.nn.Module):
    """A trace keeps only one branch."""

    def forward(self, x):
        return (2 * x if len(x) > 1 else x,)


def doubling(*samples):
    axes = {"x": {0: "batch"}, "y": {0: "batch"}}
    return Graph(DoublesBatches().eval(), "x", ("y",), axes, "any", samples)


def test_a_graph_with_other_numbers_than_torch_is_refused():
    data, difference = to_onnx(doubling(torch.ones(2, 4), torch.ones(3, 4)), {"name": "it"})
    assert data and difference == 0
    with pytest.raises(CheckpointError, match="differ by 1, expected at most"):
        to_onnx(doubling(torch.ones(2, 4), torch.ones(1, 4)), {})
    with pytest.raises(CheckpointError, match="cannot run the graph on x of \\[2, 5\\]"):
        to_onnx(doubling(torch.ones(2, 4), torch.ones(2, 5)), {})


def test_a_missing_package_is_named_with_its_command(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingExtraError, match=r'pip install "derefl\[onnx\]"'):
        to_onnx(doubling(torch.ones(2, 4)), {})
