"""Checks the mapping of values of more than 8 bits to bytes against an independent formula in plain numpy."""

from __future__ import annotations

import numpy as np
import pytest

from hub_datasets.errors import BuildError
from hub_datasets.images.windowing import linear, parse_window, window_color, window_gray


def formula(values: np.ndarray, low: float, high: float) -> np.ndarray:
    share = (values.astype(np.float64) - low) / (high - low)
    return np.rint(np.minimum(np.maximum(share, 0), 1) * 255).astype(np.uint8)


@pytest.mark.parametrize(("text", "bounds"), [("auto", None), ("0:4095", (0, 4095)), ("-160:240.5", (-160, 240.5))])
def test_windows_that_can_be_chosen(text, bounds):
    assert parse_window(text) == bounds


@pytest.mark.parametrize(
    "text",
    ["", "Auto", "0", "0:", ":5", "5:5", "6:5", "a:b", "0:1:2", "nan:1", "0:inf", "1e3:2e3", "0 : 5", "0:" + "9" * 400],
)  # fmt: skip
def test_windows_that_cannot(text):
    with pytest.raises(BuildError, match=r"neither auto nor LOW:HIGH.*--window 0:4095") as caught:
        parse_window(text)
    assert repr(text) in str(caught.value)


@pytest.mark.parametrize("type", ["u1", "i1", "u2", "i2", ">u2", ">i2", "u4", "i4", "f4", "f8"])
@pytest.mark.parametrize("bounds", [(0, 255), (0, 4095), (-160, 240), (17.25, 17.75), (-1e6, 1e6)])
def test_every_type_follows_the_formula(type, bounds):
    values = np.random.default_rng(0).integers(-70_000, 70_000, (200, 70)).astype("i8").astype(type)
    assert np.array_equal(linear(values, *bounds), formula(values, *bounds))


def test_all_values_of_16_bits_follow_the_formula():
    values = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    for low, high in ((0, 65535), (1000, 5095), (0, 1), (65534, 65535)):
        assert np.array_equal(linear(values, low, high), formula(values, low, high))
    assert np.array_equal(linear(values.view(np.int16), -1024, 3071), formula(values.view(np.int16), -1024, 3071))


def test_the_least_and_the_most_become_black_and_white():
    values = np.array([[123, 4095], [200, 2109]], dtype=np.uint16)
    shown, window = window_gray(values, None)
    assert window == "min-max 123..4095"
    assert shown.tolist() == [[0, 255], [5, 128]]


def test_neighbors_stay_in_order():
    """No value is taken modulo anything: brighter stays brighter, or equal."""
    values = np.sort(np.random.default_rng(1).integers(0, 65536, (1, 5000), dtype=np.uint16))
    for bounds in (None, (100, 40_000)):
        assert (np.diff(window_gray(values, bounds)[0].astype(int)) >= 0).all()


def test_what_lies_outside_is_counted():
    values = np.arange(1000, dtype=np.uint16).reshape(10, 100)
    shown, window = window_gray(values, (100, 899))
    assert window == "fixed 100..899, 20 % of the values outside"
    assert np.array_equal(shown, formula(values, 100, 899))
    assert window_gray(values, (0, 999))[1] == "fixed 0..999"


@pytest.mark.parametrize("value", [0, 1, 65535])
def test_one_gray_is_black(value):
    shown, window = window_gray(np.full((3, 4), value, np.uint16), None)
    assert not shown.any()
    assert window == f"min-max {value}..{value}"


def test_values_that_are_no_numbers():
    values = np.array([[np.nan, -np.inf, np.inf, 2.0, 4.0]])
    shown, window = window_gray(values, None)
    assert shown.tolist() == [[0, 0, 255, 0, 255]]
    assert window == "min-max 2..4, 40 % of the values outside"
    assert window_gray(np.full((1, 2), np.nan), None)[0].tolist() == [[0, 0]]
    assert window_gray(np.array([[-1e308, 0, 1e308]]), None)[0].shape == (1, 3)


@pytest.mark.parametrize(
    ("largest", "top"),
    [(0, 255), (255, 255), (256, 4095), (4095, 4095), (4096, 65535), (65535, 65535), (65536, 2**32 - 1)],
)
def test_colors_are_not_stretched(largest, top):
    """A dark photograph stays dark; only the number of bits is found."""
    values = np.array([[[largest, largest // 2, largest // 3]]], dtype=np.uint32)
    shown, window = window_color(values, None)
    assert window == f"full range 0..{top}"
    assert np.array_equal(shown, formula(values, 0, top))
    assert window_color(values, (0, 100_000))[1] == "fixed 0..100000"
