"""Learning from a stream, with a small student and pictures of plain colours."""

import dataclasses

import numpy as np
import pytest
import torch
from PIL import Image

from derefl.errors import ConfigError, DataError, HashIndexError
from derefl.hashing.codes import hamming
from derefl.hashing.index.hash_index import HashIndex
from derefl.hashing.learning import online
from derefl.hashing.learning.distil import DistilConfig
from derefl.hashing.learning.features import views
from derefl.hashing.learning.online import OnlineConfig, OnlineHasher, positives
from derefl.hashing.teacher_pipeline import TeacherPipeline
from derefl.training.step import take_step
from tests.hashing.fake import COLOURS
from tests.hashing.tiny import tiny_hasher, tiny_teacher

NAMES = [name for name in COLOURS if name != "grey"]
CONFIG = OnlineConfig(
    # The teacher is untrained here, so its similarities get a small weight.
    loss=DistilConfig(contrastive=1.0, rows=0.5, code_rows=0.5, regression=0.0, decorrelation=0.0),
    epochs=20,
    batch=12,
    anchors=6,
    learning_rate=3e-3,
    seed=0,
)
QUICK = dataclasses.replace(CONFIG, epochs=3)
"""For tests that do not check the quality of the training."""


class ColourEncoder:
    """Mean colours and named colours, with the widths of the tiny teacher."""

    image_dim, text_dim = 12, 8

    def encode_image(self, images):
        means = [np.asarray(image, float).mean(axis=(0, 1)) / 255 for image in images]
        return torch.tensor(np.tile(means, (1, 4))).float()

    def encode_text(self, texts):
        named = [next((c for n, c in COLOURS.items() if n in t), (0, 0, 0)) for t in texts]
        return torch.tensor(np.tile(named, (1, 3))[:, :8]).float()


def chunk(names, seed):
    """Two pictures of each colour in slightly different shades, their texts and labels."""
    rng = np.random.default_rng(seed)
    images, texts, labels = [], [], []
    for name in names:
        for template in ("a {} wall", "something {}"):
            shade = np.clip(np.array(COLOURS[name]) * 255 + rng.normal(0, 15, 3), 0, 255)
            array = np.tile(shade, (64, 64, 1)) + rng.normal(0, 8, (64, 64, 3))
            images.append(Image.fromarray(np.clip(array, 0, 255).astype(np.uint8)))
            texts.append(template.format(name))
            labels.append(NAMES.index(name))
    return images, texts, np.array(labels)


def learner(config=CONFIG, teacher=True):
    taught = TeacherPipeline(tiny_teacher(), ColourEncoder()) if teacher else None
    return OnlineHasher(tiny_hasher(64), taught, config)


def found(student, images, texts, labels):
    """Share of texts whose nearest picture has the right colour."""
    distance = hamming(student.encode_text(texts), student.encode_image(images))
    return np.mean(labels[distance.argmin(axis=1)] == labels)


def test_a_chunk_is_learned(bfloat16):
    images, texts, labels = chunk(NAMES, 0)
    online_hasher = learner()
    before = found(online_hasher.student, images, texts, labels)
    losses = online_hasher.partial_fit(images, texts, labels)
    assert found(online_hasher.student, images, texts, labels) > max(0.9, before)
    assert losses["loss"] > 0 and not online_hasher.student.training


def test_a_seed_repeats_a_stream_exactly():
    one, two = learner(QUICK), learner(QUICK)
    for stream in (one, two):
        stream.partial_fit(*chunk(NAMES[:3], 0))
        stream.partial_fit(*chunk(NAMES[3:], 1))
    texts = [f"a {name} wall" for name in NAMES]
    np.testing.assert_array_equal(
        one.student.text_embedding(texts), two.student.text_embedding(texts)
    )


def test_replay_keeps_old_codes_findable():
    """After another chunk, new text codes still find the stored codes of the first chunk."""
    first = chunk(NAMES[:2], 0)

    def recall(config):
        stream = learner(config)
        stream.partial_fit(*first)
        old = stream.student.encode_image(first[0])
        stream.partial_fit(*chunk(NAMES[2:4], 1))
        distance = hamming(stream.student.encode_text(first[1]), old)
        right = first[2][:, None] == first[2][None, :]
        return distance[~right].mean() - distance[right].mean()

    assert recall(CONFIG) > recall(dataclasses.replace(CONFIG, anchors=0)) + 2


def test_anchors_keep_the_codes_they_were_given():
    stream = learner(QUICK)
    stream.partial_fit(*chunk(NAMES[:3], 0))
    stream.partial_fit(*chunk(NAMES[3:], 1))
    anchors = stream.anchors
    assert len(anchors.tokens) == len(anchors.labels) == len(anchors.codes) == 6
    old = anchors.labels < 3
    assert 0 < old.sum() < 6
    now = stream.distiller.look(anchors.lower[0], anchors.tokens)
    codes = torch.stack([now.image_code, now.text_code], dim=1).sign()
    assert torch.equal(codes[~old], anchors.codes[~old])
    assert not torch.equal(codes[old], anchors.codes[old])


def test_learned_database_codes_are_the_teachers_joint_ones():
    images, texts, labels = chunk(NAMES[:2], 0)
    stream = learner(QUICK)
    before = stream.database_codes(images, texts, labels)
    stream.partial_fit(images, texts, labels)
    np.testing.assert_array_equal(stream.database_codes(images, texts), before)
    assert before.shape == (4, 8)


def test_a_student_that_learned_is_no_longer_its_checkpoint(monkeypatch):
    images, texts, labels = chunk(NAMES[:2], 0)
    stream = learner(dataclasses.replace(CONFIG, epochs=1), teacher=False)
    student = stream.student
    student.name, student.sha256 = "lcdh-student", "0" * 64
    index = HashIndex(64, student.name, student.sha256)
    index.require(student)
    assert "rows" not in stream.partial_fit(iter(images), iter(texts), labels)
    first = student.sha256
    assert student.name == "" and len(first) == 64 and first != "0" * 64
    with pytest.raises(HashIndexError, match="whose codes do not compare"):
        index.require(student)
    HashIndex(64, student.name, first).require(student)
    student.learned()
    assert student.sha256 == first  # the same weights have the same digest
    with pytest.raises(DataError, match="there is no teacher"):
        stream.database_codes(images, texts)

    def interrupted(*arguments):
        take_step(*arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(online, "take_step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        stream.partial_fit(images, texts, labels)
    assert student.sha256 != first and not student.training


def test_chunks_and_settings_that_do_not_fit():
    images, texts, labels = chunk(NAMES, 0)
    for given, message in (
        ((images, texts[:-1]), "12, 11"),
        ((images, texts, labels[:5]), "12, 12, 5"),
        (([], []), "at least one"),
    ):
        with pytest.raises(DataError, match=message):
            learner().partial_fit(*given)
    with pytest.raises(ConfigError, match="got batch=0, expected a whole number >= 1"):
        OnlineHasher(None, None, OnlineConfig(batch=0))


def test_positives():
    assert torch.equal(positives(None, 3), torch.eye(3))
    assert positives(torch.tensor([1, 2, 1]), 3).tolist() == [[1, 0, 1], [0, 1, 0], [1, 0, 1]]
    multi = torch.tensor([[1, 1, 0], [0, 1, 0], [0, 0, 0]]).bool()
    assert positives(multi, 3).tolist() == [[1, 1, 0], [1, 1, 0], [0, 0, 1]]


def test_views_are_the_picture_its_mirror_image_and_crops():
    picture = Image.fromarray(np.arange(600, dtype=np.uint8).reshape(20, 30))
    plain, mirrored, *crops = views(picture, 6, np.random.default_rng(0))
    assert np.array_equal(np.asarray(plain)[:, ::-1], np.asarray(mirrored))
    assert plain is picture and len(crops) == 4
    for crop in crops:
        assert 13 <= crop.height <= 20 and 19 <= crop.width <= 30
        # Rows count up by one, so the step identifies the part of the picture.
        assert set(np.unique(np.diff(np.asarray(crop).astype(int)) % 256)) <= {1, 255}
    dots = views(Image.new("L", (1, 1)), 4, np.random.default_rng(0))
    assert [dot.size for dot in dots] == [(1, 1)] * 4


def test_items_have_two_views_and_are_picked_together():
    images, texts, _ = chunk(NAMES[:1], 0)
    striped = Image.fromarray(np.tile(np.arange(64, dtype=np.uint8)[None, :, None] * 4, (64, 1, 3)))
    items = learner().items([striped, *images], ["stripes", *texts])
    assert items.lower.shape[:2] == (2, 3)
    assert (items.lower[0, 0] - items.lower[1, 0]).abs().max() > 0.01
    rows = np.array([2, 0])
    batch = items.pick(rows, rows, view=1)
    assert batch.tokens == [items.tokens[2], items.tokens[0]]
    for picked, all_rows in (
        (batch.lower, items.lower[1]),
        (batch.teacher_image, items.teacher_image),
        (batch.teacher_text, items.teacher_text),
    ):
        assert torch.equal(picked, all_rows[rows])
    assert torch.equal((items + items).lower[1, 3:], items.lower[1])
