"""The attention block of the teacher and the student. Tokens are ``[b n d]``."""

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from derefl.errors import ConfigError


class AttentionBlock(nn.Module):
    """Pre-norm self-attention and feed-forward, each added to its input (Vaswani et al., 2017)."""

    def __init__(self, dim: int, heads: int, dropout: float = 0.0) -> None:
        super().__init__()
        if dim % heads:
            raise ConfigError(
                f"got {heads} attention heads for a width of {dim}, expected a divisor"
            )
        self.heads, self.dropout = heads, dropout
        self.norm_attention = nn.LayerNorm(dim)
        self.to_qkv = nn.Linear(dim, 3 * dim)
        self.to_out = nn.Linear(dim, dim)
        self.norm_forward = nn.LayerNorm(dim)
        self.expand = nn.Linear(dim, 2 * dim)
        self.contract = nn.Linear(2 * dim, dim)

    def forward(self, x: Tensor, present: Tensor) -> Tensor:
        """Attend among the present tokens.

        Args:
            x: ``[b n d]``.
            present: bool ``[b n]``, at least one per row. Absent tokens are ignored, and their
                outputs have no meaning.
        """
        q, k, v = rearrange(
            self.to_qkv(self.norm_attention(x)), "b n (qkv h d) -> qkv b h n d", qkv=3, h=self.heads
        )
        attended = F.scaled_dot_product_attention(q, k, v, present[:, None, None, :])
        x = x + self.drop(self.to_out(rearrange(attended, "b h n d -> b n (h d)")))
        return x + self.drop(self.contract(F.gelu(self.expand(self.norm_forward(x)))))

    def drop(self, x: Tensor) -> Tensor:
        """Dropout while training."""
        return F.dropout(x, self.dropout, self.training)


def pooled(x: Tensor, weight: Tensor, present: Tensor) -> Tensor:
    """Weighted mean of the present tokens: ``[b n d]``, weights > 0 ``[b n]`` → ``[b d]``."""
    weight = weight * present
    weight = weight / weight.sum(dim=1, keepdim=True)
    return torch.einsum("b n d, b n -> b d", x, weight)
