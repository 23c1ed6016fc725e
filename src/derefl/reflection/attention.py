"""ILCAM, the inter-layer complementarity attention: reorganise → attend → restore.

All tensors have channels last (``b h w c``). Then a pointwise layer is one matrix product, and a
depthwise convolution gets PyTorch's channels-last layout without a copy.
"""

import math

import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from torch import Tensor, nn

REORGANISE = ("half", "interleave", "none")


def reorganise(t: Tensor, r: Tensor, mode: str = "half") -> tuple[Tensor, Tensor]:
    """Exchange half of the channels, so that each stream contains complementary parts of both.

    ``half``: [T₁,T₂],[R₁,R₂] → [T₁,R₂],[R₁,T₂]. ``interleave``: exchange the odd channels.
    ``none``: exchange nothing (ablation). The paper has an exchange; the modes are our choice.

    Args:
        t, r: ``[… c]`` with c even.
        mode: one of :data:`REORGANISE`.

    Returns:
        ``(y1, y2)``, each with the shape of ``t``; :func:`restore` is the inverse.
    """
    if mode == "none":
        return t, r
    if mode == "half":
        (t1, t2), (r1, r2) = t.chunk(2, dim=-1), r.chunk(2, dim=-1)
        return torch.cat([t1, r2], dim=-1), torch.cat([r1, t2], dim=-1)
    odd = torch.arange(t.shape[-1], device=t.device) % 2 == 1
    return torch.where(odd, r, t), torch.where(odd, t, r)


def restore(y1: Tensor, y2: Tensor, mode: str = "half") -> tuple[Tensor, Tensor]:
    """The inverse of :func:`reorganise`."""
    if mode == "half":
        (t1, r2), (r1, t2) = y1.chunk(2, dim=-1), y2.chunk(2, dim=-1)
        return torch.cat([t1, t2], dim=-1), torch.cat([r1, r2], dim=-1)
    return reorganise(y1, y2, mode)  # the other two modes are their own inverse


class WindowAttention(nn.Module):
    """Multi-head self-attention in windows, with a learned relative position bias.

    Windows may be shifted by half their width. The border is padded and the padding is masked, so
    any height and width works. Shifted windows do not wrap around.
    """

    def __init__(self, dim: int, *, head_dim: int, window: int, shift: bool) -> None:
        super().__init__()
        self.heads = dim // head_dim
        self.window = window
        self.shift = window // 2 if shift else 0
        self.to_qkv = nn.Linear(dim, 3 * dim)
        self.to_out = nn.Linear(dim, dim)
        self.bias = nn.Parameter(torch.zeros((2 * window - 1) ** 2, self.heads))
        self.bias_index: Tensor
        self.register_buffer("bias_index", relative_index(window), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """``[b h w c] -> [b h w c]``."""
        _, h, w, _ = x.shape
        s, n = self.shift, self.window
        bottom, right = -(h + s) % n, -(w + s) % n
        mask = rearrange(self.bias[self.bias_index], "i j head -> 1 head i j")
        if s or bottom or right:
            x = F.pad(x, (0, 0, s, right, s, bottom))
            inside = F.pad(x.new_ones(h, w), (s, right, s, bottom))
            keys = rearrange(inside, "(gh p) (gw q) -> (gh gw) 1 1 (p q)", p=n, q=n)
            mask = mask + (keys - 1) * 1e4
            mask = repeat(mask, "g head i j -> (b g) head i j", b=x.shape[0])
        gh, gw = x.shape[1] // n, x.shape[2] // n
        tokens = rearrange(x, "b (gh p) (gw q) c -> (b gh gw) (p q) c", p=n, q=n)
        q, k, v = rearrange(
            self.to_qkv(tokens), "b n (qkv head c) -> qkv b head n c", qkv=3, head=self.heads
        )
        # The fused kernel has no gradient for a mask, and its fallback is slower.
        scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1) + mask
        out = scores.softmax(dim=-1) @ v
        out = self.to_out(rearrange(out, "b head n c -> b n (head c)"))
        out = rearrange(out, "(b gh gw) (p q) c -> b (gh p) (gw q) c", gh=gh, gw=gw, p=n)
        return out[:, s : s + h, s : s + w]


def relative_index(window: int) -> Tensor:
    """Row of the bias table for each query–key pair: long ``[window², window²]``."""
    y, x = torch.meshgrid(torch.arange(window), torch.arange(window), indexing="ij")
    place = torch.stack([y.flatten(), x.flatten()])
    dy, dx = place[:, :, None] - place[:, None, :] + window - 1
    return dy * (2 * window - 1) + dx


class ComplementaryAttention(nn.Module):
    """ILCAM: one window attention for both reorganised streams (sharing is our choice)."""

    def __init__(self, dim: int, *, head_dim: int, window: int, shift: bool, mode: str) -> None:
        super().__init__()
        self.mode = mode
        self.norm_t = nn.LayerNorm(dim)
        self.norm_r = nn.LayerNorm(dim)
        self.attend = WindowAttention(dim, head_dim=head_dim, window=window, shift=shift)
        self.scale_t = nn.Parameter(torch.full((dim,), 0.1))
        self.scale_r = nn.Parameter(torch.full((dim,), 0.1))

    def forward(self, t: Tensor, r: Tensor) -> tuple[Tensor, Tensor]:
        """Both streams ``[b h w c]`` in and out."""
        y1, y2 = reorganise(self.norm_t(t), self.norm_r(r), self.mode)
        z1, z2 = self.attend(torch.cat([y1, y2])).chunk(2)
        dt, dr = restore(z1, z2, self.mode)
        return t + self.scale_t * dt, r + self.scale_r * dr


class StreamFeedForward(nn.Module):
    """One stream's half of the gated feed-forward: expand to a value and a gate, then contract."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.expand = nn.Linear(dim, 2 * dim)
        self.depthwise = nn.Conv2d(2 * dim, 2 * dim, 3, padding=1, groups=2 * dim)
        self.squeeze = nn.Linear(dim, dim)
        self.contract = nn.Linear(dim, dim)
        self.scale = nn.Parameter(torch.full((dim,), 0.1))
        # Two products in a row can grow fast, so channel attention starts near 1 for all channels.
        nn.init.normal_(self.squeeze.weight, std=0.02)
        nn.init.ones_(self.squeeze.bias)

    def value_and_gate(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = rearrange(self.expand(self.norm(x)), "b h w c -> b c h w")
        return rearrange(self.depthwise(x), "b c h w -> b h w c").chunk(2, dim=-1)

    def finish(self, x: Tensor) -> Tensor:
        attention = self.squeeze(x.mean(dim=(1, 2), keepdim=True)).sigmoid()
        return self.scale * self.contract(x * attention)


class CrossGatedFeedForward(nn.Module):
    """Gate each stream's value by the other stream: t₁·r₂ and r₁·t₂."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.t = StreamFeedForward(dim)
        self.r = StreamFeedForward(dim)

    def forward(self, t: Tensor, r: Tensor) -> tuple[Tensor, Tensor]:
        """Both streams ``[b h w c]`` in and out."""
        (t1, t2), (r1, r2) = self.t.value_and_gate(t), self.r.value_and_gate(r)
        return t + self.t.finish(t1 * r2), r + self.r.finish(r1 * t2)


class DualStreamBlock(nn.Module):
    """ILCAM, unless ``window`` is 0, and the cross-gated feed-forward."""

    def __init__(
        self,
        dim: int,
        *,
        head_dim: int = 1,
        window: int = 0,
        shift: bool = False,
        mode: str = "half",
    ) -> None:
        super().__init__()
        self.attention = None
        if window:
            self.attention = ComplementaryAttention(
                dim, head_dim=math.gcd(dim, head_dim), window=window, shift=shift, mode=mode
            )
        self.feed_forward = CrossGatedFeedForward(dim)

    def forward(self, t: Tensor, r: Tensor) -> tuple[Tensor, Tensor]:
        """Both streams ``[b h w c]`` in and out."""
        if self.attention is not None:
            t, r = self.attention(t, r)
        return self.feed_forward(t, r)
