"""Mixtures of pairs, and a training step on them."""

import numpy as np
import torch
from PIL import Image
from torch.nn.functional import normalize

from derefl.hashing.learning import distiller
from derefl.hashing.learning.distil import DistilConfig
from derefl.hashing.learning.distiller import Distiller, Items, lower_features, tokens_of
from derefl.hashing.learning.mixing import mixed, mixing
from derefl.hashing.tokenizer import padded
from derefl.training.precision import autocast
from tests.hashing.tiny import TEACHER, tiny_hasher, tiny_teacher


def test_a_mixture_of_pairs_is_a_pair():
    turn = torch.linalg.qr(torch.randn(32, 32)).Q
    pictures, texts = torch.eye(32), turn  # their mixtures show their components
    rng = np.random.default_rng(0)
    shares = mixing(32, 0.5, rng)
    image, text = mixed(shares, pictures), mixed(shares, texts)
    torch.testing.assert_close(image @ turn, text)
    torch.testing.assert_close(image.norm(dim=1), torch.ones(32))
    own, of_all = image.diagonal(), image.sum(dim=1)
    share = 1 - own / of_all
    assert share.min() >= 0 and share.max() <= 0.5 and share.std() > 0.1
    assert ((image > 0).sum(dim=1) <= 2).all() and (image > 0).sum() > 50
    torch.testing.assert_close(shares.sum(dim=1), torch.ones(32))
    torch.testing.assert_close(mixed(mixing(32, 0.0, rng), pictures), pictures)


def learner() -> tuple[Distiller, Items]:
    """A student with learning rate 0, and eight pairs."""
    student = tiny_hasher()
    rng = np.random.default_rng(0)
    pictures = [Image.fromarray(rng.integers(0, 256, (64, 64, 3), np.uint8)) for _ in range(8)]
    taught = normalize(torch.randn(2, 8, TEACHER.dim), dim=-1)
    items = Items(
        lower_features(student, pictures, count=1),
        tokens_of(student, [f"picture number {i}" for i in range(8)]),
        *taught,
    )
    return Distiller(
        student, tiny_teacher(), DistilConfig(), learning_rate=0.0, weight_decay=0.0
    ), items


def test_texts_are_read_in_parts_of_similar_length(monkeypatch):
    still, _ = learner()
    tokens = tokens_of(still.student, ["a dog", "a brown dog jumps over a red fence", "", "sky"])
    monkeypatch.setattr(distiller, "TEXTS", 3)
    expected = still.student.text(torch.from_numpy(padded(tokens)))
    torch.testing.assert_close(still.read(tokens), expected)


def test_student_and_teacher_see_the_same_mixtures(bfloat16, monkeypatch):
    still, items = learner()
    shares = mixing(8, 0.5, np.random.default_rng(1))
    calls = []

    def spy(*arguments):
        calls.append(arguments[:3])
        return loss(*arguments)

    loss = distiller.student_loss
    monkeypatch.setattr(distiller, "student_loss", spy)
    rows, positives = np.arange(8), torch.eye(8)
    positives[0, 1] = positives[1, 0] = 1
    batch = items.pick(rows, rows, view=0)
    for given in (shares, None, torch.eye(8)):
        still.loss(batch, positives, given)
    (seen, taught, pairs), (seen_alone, taught_alone, pairs_alone), alone = calls

    lower = torch.einsum("i j, j h w c -> i h w c", shares, items.lower[0].float())
    with autocast(lower.device):
        image = still.student.image.upper(lower.permute(0, 3, 1, 2))
    torch.testing.assert_close(seen.image, normalize(image.float(), dim=-1), atol=1e-4, rtol=0)
    torch.testing.assert_close(seen.text, normalize(shares @ seen_alone.text, dim=-1))
    torch.testing.assert_close(seen.text_code, still.student.text_hash(seen.text))
    for mixture, single in zip(taught[:2], taught_alone[:2], strict=True):
        torch.testing.assert_close(mixture, normalize(shares @ single, dim=-1))
    torch.testing.assert_close(pairs, shares @ positives @ shares.T)
    assert torch.equal(pairs_alone, positives)
    torch.testing.assert_close(alone[0].image, seen_alone.image)
    torch.testing.assert_close(alone[1].text, taught_alone.text)
