"""Training on machines with and without bfloat16 units, on any machine."""

import dataclasses

import pytest
import torch

from derefl.hashing.learning.train_teacher import TeacherRun, TeacherRunConfig, teacher_loss
from derefl.training import precision
from tests.hashing.test_online import CONFIG, NAMES, chunk, learner
from tests.hashing.tiny import tiny_teacher


def student():
    config = dataclasses.replace(CONFIG, epochs=1)
    return learner(config).partial_fit(*chunk(NAMES[:3], 0))["loss"]


def teacher():
    module, generator = TeacherRun(tiny_teacher()), torch.Generator().manual_seed(0)
    images, texts = (torch.randn(6, width, generator=generator) for width in (12, 8))
    loss, _ = teacher_loss(module, images, texts, torch.eye(6), TeacherRunConfig())
    loss.backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in module.parameters())
    return float(loss.detach())


@pytest.mark.parametrize("loss", [student, teacher])
def test_the_loss_is_nearly_the_same_in_bfloat16(loss, monkeypatch):
    found = []
    for dtype in (None, torch.bfloat16):
        monkeypatch.setattr(precision, "autocast_dtype", lambda device, dtype=dtype: dtype)
        found.append(loss())
    assert found[1] == pytest.approx(found[0], rel=0.02) and found[1] != found[0]
