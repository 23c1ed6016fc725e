"""The network's parts against their definitions, and properties of the whole network."""

import copy

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from derefl.errors import ConfigError
from derefl.reflection.attention import REORGANISE, WindowAttention, reorganise, restore
from derefl.reflection.frequency import mean_filter, split_residual
from derefl.reflection.model import DeRefl, DeReflConfig


def picture(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("mode", REORGANISE)
def test_restore_undoes_reorganise(mode):
    t, r = picture(2, 3, 5, 8), picture(2, 3, 5, 8, seed=1)
    y1, y2 = reorganise(t, r, mode)
    back_t, back_r = restore(y1, y2, mode)
    assert torch.equal(back_t, t) and torch.equal(back_r, r)


@pytest.mark.parametrize("mode", ["half", "interleave"])
def test_reorganised_streams_hold_complementary_halves(mode):
    t, r = torch.zeros(1, 1, 1, 8), torch.ones(1, 1, 1, 8)
    y1, y2 = reorganise(t, r, mode)
    assert y1.sum() == 4 and torch.equal(y1 + y2, torch.ones_like(t))
    expected = [0, 0, 0, 0, 1, 1, 1, 1] if mode == "half" else [0, 1] * 4
    assert y1.flatten().tolist() == expected


@given(h=st.integers(8, 30), w=st.integers(8, 30), kernel=st.sampled_from([3, 5, 11]))
def test_mean_filter_equals_its_definition(h, w, kernel):
    x = picture(1, 2, h, w, seed=h * 31 + w)
    radius = kernel // 2
    padded = np.pad(x.numpy(), ((0, 0), (0, 0), (radius, radius), (radius, radius)), "reflect")
    boxes = np.lib.stride_tricks.sliding_window_view(padded, (kernel, kernel), axis=(2, 3))
    np.testing.assert_allclose(mean_filter(x, kernel), boxes.mean(axis=(-2, -1)), atol=1e-6)


def test_mean_filter_keeps_constants():
    x = torch.full((1, 3, 20, 20), 0.7)
    torch.testing.assert_close(mean_filter(x, 11), x)


def test_low_and_high_sum_to_the_residual():
    image, transmission = picture(2, 3, 24, 40), picture(2, 3, 24, 40, seed=1)
    low, high = split_residual(image, transmission, 11)
    torch.testing.assert_close(low + high, image - transmission)
    torch.testing.assert_close(low, mean_filter(image, 11) - mean_filter(transmission, 11))


@pytest.mark.parametrize("shift", [False, True])
def test_window_attention_equals_its_definition(shift):
    """Token by token, from the formula: softmax of q·k + bias over the tokens of the window."""
    torch.manual_seed(0)
    attention = WindowAttention(dim=8, head_dim=4, window=4, shift=shift).double()
    torch.nn.init.normal_(attention.bias)
    x = picture(1, 6, 7, 8).double()
    s = 2 if shift else 0
    qkv = attention.to_qkv(x)[0].unflatten(-1, (3, 2, 4))
    expected = torch.zeros(6, 7, 2, 4, dtype=torch.double)
    for i in range(6):
        for j in range(7):
            window = [
                (y, z)
                for y in range(6)
                for z in range(7)
                if (y + s) // 4 == (i + s) // 4 and (z + s) // 4 == (j + s) // 4
            ]
            for head in range(2):
                q = qkv[i, j, 0, head]
                scores = torch.stack(
                    [
                        q @ qkv[y, z, 1, head] / 2
                        + attention.bias[(i - y + 3) * 7 + (j - z + 3), head]
                        for y, z in window
                    ]
                )
                values = torch.stack([qkv[y, z, 2, head] for y, z in window])
                expected[i, j, head] = scores.softmax(0) @ values
    torch.testing.assert_close(attention(x)[0], attention.to_out(expected.flatten(-2)))


@torch.inference_mode()
def test_layers_have_the_pictures_size(tiny):
    for h, w in ((16, 16), (17, 63), (64, 32), (100, 31)):
        layers = tiny(picture(1, 3, h, w))
        assert [tuple(x.shape) for x in layers] == [(1, 3, h, w)] * 3
        assert layers._fields == ("transmission", "residual_low", "residual_high")
        assert all(torch.isfinite(x).all() for x in layers)


@torch.inference_mode()
def test_padding_and_cropping_change_nothing_inside(tiny):
    x = picture(1, 3, 50, 70)
    padded = torch.nn.functional.pad(x, (13, 13, 7, 7), mode="reflect")  # to 64 × 96
    for inside, whole in zip(tiny(x), tiny(padded), strict=True):
        torch.testing.assert_close(inside, whole[:, :, 7:57, 13:83])


@torch.inference_mode()
def test_a_batch_equals_its_pictures(tiny):
    x = picture(3, 3, 40, 72)
    singles = [
        torch.cat(layer) for layer in zip(*(tiny(x[i : i + 1]) for i in range(3)), strict=True)
    ]
    for together, alone in zip(tiny(x), singles, strict=True):
        torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)


@torch.inference_mode()
def test_training_mode_does_not_move_batch_norm(tiny):
    before = copy.deepcopy(tiny.state_dict())
    tiny.train()(picture(2, 3, 32, 32))
    after = tiny.state_dict()
    assert all(torch.equal(before[key], after[key]) for key in before)


@torch.inference_mode()
def test_float32_agrees_with_float64(tiny):
    x = picture(1, 3, 48, 64)
    reference = copy.deepcopy(tiny).double()(x.double())
    for single, double in zip(tiny(x), reference, strict=True):
        torch.testing.assert_close(single.double(), double, atol=2e-5, rtol=1e-4)


@torch.inference_mode()
def test_streams_and_modulation_reach_the_transmission(tiny):
    """T̂ depends on the outputs of the residual stream and G, not only on its own stream."""
    x = picture(1, 3, 32, 32)
    plain = tiny(x).transmission
    for part in (tiny.levels[2].enter_r, tiny.high_frequency.to_modulation):
        changed = copy.deepcopy(tiny)
        twin = changed.get_submodule(next(n for n, m in tiny.named_modules() if m is part))
        torch.nn.init.normal_(twin.weight)
        assert (changed(x).transmission - plain).abs().max() > 1e-4


@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 1, 32, 32), (1, 3, 15, 32), (1, 4, 32, 32)])
def test_other_shapes_are_refused(tiny, shape):
    with pytest.raises(ValueError, match="expected \\[b, 3, h, w\\]"):
        DeRefl.forward(tiny, torch.zeros(shape))


@pytest.mark.parametrize(
    "wrong", [{"dims": (8, 8, 8)}, {"dims": (7,) * 5}, {"mean_kernel": 10}, {"windows": (8,)}]
)
def test_impossible_configs_are_refused(wrong):
    with pytest.raises(ConfigError, match=f"got .*{next(iter(wrong))}="):
        DeReflConfig(**wrong)


def test_default_model_is_small():
    parameters = sum(p.numel() for p in DeRefl(DeReflConfig()).parameters())
    assert parameters <= 8_000_000
