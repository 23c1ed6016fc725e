"""Losses of teacher and student; each is a scalar.

Names: n pairs in a batch, K bits, h ∈ (−1, 1)^K a real-valued code, b = sign h the code. "Paper"
marks a part that is known of LCDH. The equations of LCDH are not known, so all formulas here are
our choice.
"""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from derefl.hashing.codes import BITS

LENGTHS = BITS


def straight_through_sign(h: Tensor) -> Tensor:
    """b = sign h with the gradient of the identity: training uses the same codes as the search."""
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
    """``[n n]`` without its diagonal, ``[n n−1]``."""
    n = len(similarity)
    return similarity.flatten()[1:].view(n - 1, n + 1)[:, :-1].reshape(n, n - 1)


def row_distillation(
    student: Tensor, teacher: Tensor, scale: Tensor | float, at: float, *, diagonal: bool = True
) -> Tensor:
    """KL(softmax(t·S_T) ‖ softmax(s·S)), mean over rows: the teacher's neighbours for each item.

    Args:
        student, teacher: similarities in [−1, 1], ``[n m]``.
        scale: the student's inverse temperature s.
        at: the teacher's inverse temperature t.
        diagonal: False drops the diagonal when a set is compared with itself: every item is most
            similar to itself, and the rest of the row would hardly count.
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
    """‖h_v − h_t‖² / K, mean over pairs ``[n K]``: a picture and its text get the same code."""
    return (image - text).square().mean()


def quantisation_loss(h: Tensor) -> Tensor:
    """‖|h| − 1‖² / K: moves real-valued codes to the corners of the cube."""
    return (h.abs() - 1).square().mean()


def decorrelation_loss(codes: Tensor) -> Tensor:
    """Σ_{i≠j} C_ij² / K, C the covariance of the bits over the batch ``[n K]``.

    Correlated bits are wasted: without this loss, 128 bits vary in some 30 directions.
    """
    centred = codes - codes.mean(dim=0)
    covariance = centred.T @ centred / len(codes)
    return (covariance.square().sum() - covariance.diagonal().square().sum()) / codes.shape[1]


def nested(
    loss: Callable[[Tensor, Tensor], Tensor], a: Tensor, b: Tensor, lengths: Sequence[int] = LENGTHS
) -> Tensor:
    """Mean of ``loss(a_L, b_L)`` over code lengths L; a_L is the first L bits of a.

    Every prefix of a code is trained as a code; for the weights see :func:`length_weights`.
    """
    terms = torch.stack([loss(a[:, :bits], b[:, :bits]) for bits in lengths])
    return terms @ length_weights(lengths).to(terms)


def length_weights(lengths: Sequence[int]) -> Tensor:
    """The weight of each code length, √L over their sum: ``[lengths]``.

    With equal weights, the long codes would fall behind, because the losses of all shorter codes
    also act on their first bits.
    """
    roots = torch.tensor(lengths, dtype=torch.float32).sqrt()
    return roots / roots.sum()
