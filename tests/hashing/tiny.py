"""Small models with seeded weights."""

import copy
from functools import cache

import torch

from derefl.hashing.hasher import Hasher
from derefl.hashing.student import LCDHStudentConfig
from derefl.hashing.teacher import LCDHTeacher, LCDHTeacherConfig

STUDENT = LCDHStudentConfig(
    image_size=64, vocabulary=24_000, token_dim=16, feature_dim=128, hash_hidden=512
)
TEACHER = LCDHTeacherConfig(image_dim=12, text_dim=8, dim=64, heads=4, dropout=0.0)


def tiny_hasher(bits: int = 64, seed: int = 0) -> Hasher:
    """Random weights, each large enough to have an effect."""
    hasher = copy.deepcopy(first_hasher(bits, seed))
    torch.manual_seed(seed)  # later random draws of a test do not depend on the order of tests
    return hasher


@cache
def first_hasher(bits: int, seed: int) -> Hasher:
    """The hasher that :func:`tiny_hasher` copies: building takes longer than most tests."""
    torch.manual_seed(seed)
    hasher = Hasher(STUDENT, bits=bits).eval()
    torch.nn.init.normal_(hasher.text.order.weight, std=0.3)
    torch.nn.init.normal_(hasher.text.log_weight.weight, std=0.3)
    return hasher


def tiny_teacher(seed: int = 0) -> LCDHTeacher:
    """Random weights; its codes depend on both modalities."""
    torch.manual_seed(seed)
    teacher = LCDHTeacher(TEACHER).eval()
    torch.nn.init.normal_(teacher.modality, std=0.5)
    return teacher
