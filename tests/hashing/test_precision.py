"""Training on machines with and without bfloat16 units, whichever this machine is."""

import dataclasses

import pytest
import torch

from derefl.hashing.learning import train_teacher
from derefl.training import precision
from tests.hashing.test_online import CONFIG, NAMES, chunk, learner
from tests.hashing.tiny import tiny_teacher


@pytest.fixture
def both(monkeypatch):
    """The value of a loss in float32 and with autocast to bfloat16."""

    def losses(loss):
        found = []
        for dtype in (None, torch.bfloat16):
            monkeypatch.setattr(precision, "autocast_dtype", lambda device, dtype=dtype: dtype)
            found.append(float(loss()))
        return found

    return losses


def test_a_student_learns_a_chunk(both):
    config = dataclasses.replace(CONFIG, epochs=1)
    plain, mixed = both(lambda: learner(config).partial_fit(*chunk(NAMES, 0))["loss"])
    assert mixed == pytest.approx(plain, rel=0.02) and mixed != plain


def test_a_teacher_has_the_same_loss(both):
    generator = torch.Generator().manual_seed(0)
    images, texts = (torch.randn(6, width, generator=generator) for width in (12, 8))

    def loss():
        module = train_teacher.TeacherRun(tiny_teacher())
        run = train_teacher.TeacherRunConfig()
        total, _ = train_teacher.teacher_loss(module, images, texts, torch.eye(6), run)
        total.backward()
        assert all(p.grad is None or p.grad.isfinite().all() for p in module.parameters())
        return total.detach()

    plain, mixed = both(loss)
    assert mixed == pytest.approx(plain, rel=0.02) and mixed != plain
