import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from derefl.errors import DereflError, HashIndexError
from derefl.hashing.codes import BITS, check_codes, hamming, pack, prefix, unpack


@st.composite
def code_pairs(draw):
    """Codes of one length, ``a`` [n K/8] and ``b`` [m K/8]."""
    width = draw(st.sampled_from(BITS)) // 8
    n, m = draw(st.integers(0, 6)), draw(st.integers(0, 6))
    return tuple(draw(arrays(np.uint8, (rows, width))) for rows in (n, m))


def test_the_order_of_bits():
    values = np.full(16, -1.0)
    values[[0, 9]] = 0.1, 1e-30
    assert pack(values).tolist() == [0b1000_0000, 0b0100_0000]
    assert pack([[0.0] * 8, [-0.0] * 7 + [2.0]]).tolist() == [[0], [1]]
    assert unpack(np.array([0b1000_0001], np.uint8)).tolist() == [1, -1, -1, -1, -1, -1, -1, 1]


@given(code_pairs())
def test_packing_is_undone(pair):
    codes, _ = pair
    assert unpack(codes).dtype == np.float32
    assert np.array_equal(pack(unpack(codes)), codes)
    assert np.array_equal(np.unpackbits(codes, axis=1) * 2.0 - 1, unpack(codes))


@given(code_pairs())
def test_distance_and_inner_product(pair):
    a, b = pair
    bits = a.shape[1] * 8
    assert np.array_equal(hamming(a, b), (bits - unpack(a) @ unpack(b).T) / 2)


@given(code_pairs(), st.sampled_from(BITS))
def test_a_prefix_is_the_code_of_the_first_values(pair, bits):
    codes, _ = pair
    if codes.shape[1] * 8 < bits:
        with pytest.raises(HashIndexError, match=f"at least the {bits} asked for"):
            prefix(codes, bits)
    else:
        short = prefix(codes, bits)
        assert np.array_equal(short, pack(unpack(codes)[:, :bits]))
        assert short.flags.c_contiguous


def test_farthest():
    zeros, ones = np.zeros((1, 16), np.uint8), np.full((1, 16), 255, np.uint8)
    assert hamming(zeros, ones).tolist() == [[128]]


def test_codes_that_do_not_lie_in_a_row():
    codes = np.random.default_rng(0).integers(0, 256, (8, 5), np.uint8).T
    assert np.array_equal(hamming(codes, codes), hamming(codes.copy(), codes.copy()))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: pack(np.zeros((2, 12))), "shape [2, 12], expected [n, K]"),
        (lambda: pack(3.0), "shape [], expected [n, K]"),
        (lambda: prefix(np.zeros((1, 8), np.uint8), 24), "got bits=24, expected one of 16, 32, 64"),
        (lambda: hamming(np.zeros((1, 8), np.uint8), np.zeros((1, 4), np.uint8)), "[1, 8] and [1"),
        (lambda: hamming(np.zeros(8, np.uint8), np.zeros((1, 8), np.uint8)), "[8] and [1, 8]"),
        (lambda: check_codes(np.zeros((1, 8)), 64), "codes of type float64 and shape [1, 8]"),
        (lambda: check_codes(np.zeros((1, 1, 8), np.uint8), 64), "shape [1, 1, 8], expected"),
        (lambda: check_codes(np.zeros((3, 4), np.uint8), 64), "codes of 32 bits, expected 64"),
    ],
)
def test_errors(call, words):
    with pytest.raises(DereflError) as error:
        call()
    assert words in str(error.value)
    assert "\n" not in str(error.value)
