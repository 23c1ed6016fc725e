"""Losses of teacher and student; each a scalar.

Names: n pairs in a chunk, K bits, h ∈ (−1, 1)^K a real-valued code, b = sign h the code. "Paper"
marks what is known of LCDH; its equations are not, so every formula here is our choice.
"""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from derefl.hashing.codes import BITS

LENGTHS = BITS


def straight_through_sign(h: Tensor) -> Tensor:
    """b = sign h with the gradient of the identity: what is trained is what is searched with."""
    return h + (h.sign() - h).detach()


def contrastive_loss(similarity: Tensor, positives: Tensor, scale: Tensor | float) -> Tensor:
    """InfoNCE both ways: ½·CE(P, softmax(s·S)) + ½·CE(Pᵀ, softmax(s·Sᵀ)).

    Args:
        similarity: S in [−1, 1], ``[n n]``, pictures by texts.
        positives: ``[n n]``, 1 where picture and text belong together; its rows and columns,
            divided by their sums, are the targets P.
        scale: inverse temperature s.
    """
    rows = -(positives / positives.sum(1, keepdim=True) * F.log_softmax(scale * similarity, 1))
    columns = -(positives / positives.sum(0, keepdim=True) * F.log_softmax(scale * similarity, 0))
    return (rows.sum() + columns.sum()) / (2 * len(similarity))


def without_diagonal(similarity: Tensor) -> Tensor:
    """What is left of ``[n n]`` without its diagonal, ``[n n−1]``."""
    n = len(similarity)
    return similarity.flatten()[1:].view(n - 1, n + 1)[:, :-1].reshape(n, n - 1)


def row_distillation(
    student: Tensor,
    teacher: Tensor,
    scale: Tensor | float,
    at: float,
    *,
    diagonal: bool = True,
) -> Tensor:
    """KL(softmax(t·S_T) ‖ softmax(s·S)), mean over rows: who is near whom, as the teacher sees it.

    Args:
        student, teacher: similarities in [−1, 1], ``[n m]``.
        scale: inverse temperature s of the student's.
        at: that of the teacher's, t.
        diagonal: False leaves it out, where a set is compared with itself: that everything is like
            itself needs no learning, and beside its 1 the rest of a row is next to nothing.
    """
    if not diagonal:
        student, teacher = without_diagonal(student), without_diagonal(teacher)
    target = F.softmax(at * teacher, dim=1)
    return F.kl_div(F.log_softmax(scale * student, 1), target, reduction="batchmean")


def similarity_distillation(a: Tensor, b: Tensor, teacher: Tensor) -> Tensor:
    """‖B_a B_bᵀ/K − S_T‖² / n², S_T = H_T H_Tᵀ/K (paper: approximates similarity matrices).

    Args:
        a, b: codes ``[n K]`` and ``[m K]``.
        teacher: S_T in [−1, 1], ``[n m]``.
    """
    return (a @ b.T / a.shape[1] - teacher).square().mean()


def alignment_loss(image: Tensor, text: Tensor) -> Tensor:
    """‖h_v − h_t‖² / K, mean over pairs ``[n K]``: a picture and its text get one code."""
    return (image - text).square().mean()


def quantisation_loss(h: Tensor) -> Tensor:
    """‖|h| − 1‖² / K: real-valued codes end up near the corners of the cube."""
    return (h.abs() - 1).square().mean()


def decorrelation_loss(codes: Tensor) -> Tensor:
    """Σ_{i≠j} C_ij² / K, C the covariance of the bits over the batch ``[n K]``.

    Bits that say the same twice are wasted: without it 128 bits vary in some 30 directions.
    """
    centred = codes - codes.mean(dim=0)
    covariance = centred.T @ centred / len(codes)
    return (covariance.square().sum() - covariance.diagonal().square().sum()) / codes.shape[1]


def nested(
    loss: Callable[[Tensor, Tensor], Tensor],
    a: Tensor,
    b: Tensor,
    lengths: Sequence[int] = LENGTHS,
) -> Tensor:
    """Mean of ``loss(a_L, b_L)`` over code lengths L, a_L being the first L bits of a.

    So every prefix of a code is trained as a code of its own; see :func:`length_weights`.
    """
    terms = torch.stack([loss(a[:, :bits], b[:, :bits]) for bits in lengths])
    return terms @ length_weights(lengths).to(terms)


def length_weights(lengths: Sequence[int]) -> Tensor:
    """How much each code length counts, √L over their sum: ``[lengths]``.

    All lengths alike would leave the long codes behind, for every bit of theirs that the short
    ones share is pulled four times (our choice).
    """
    roots = torch.tensor(lengths, dtype=torch.float32).sqrt()
    return roots / roots.sum()
