"""Paths -> names that tell adapters apart; numbers in a line."""

from __future__ import annotations

import pytest

from lorafold.common.text import short_names, two_digits


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["/a/style.safetensors", "/a/face"], ["style", "face"]),
        (["/a/x/lora.safetensors", "/a/y/lora.safetensors"], ["x/lora", "y/lora"]),
        (["x/lora.pt", "lora.pt"], ["x/lora", "lora adapter 2"]),
        (["/runs/one/adapter_model.safetensors", "/runs/two/adapter_model.bin"], ["one", "two"]),
        (["C:\\loras\\style.safetensors", "C:\\loras\\v1.5"], ["style", "v1.5"]),
        (["/a/same.pt", "/a/same.pt"], ["same adapter 1", "same adapter 2"]),
        ([None, None, "/a/b/"], ["adapter 1", "adapter 2", "b"]),
        ([], []),
    ],
)
def test_as_short_as_they_can_be(paths, names):
    assert short_names(paths) == names


@pytest.mark.parametrize(
    ("value", "said"), [(0.00337, "0.0034"), (99.4, "99"), (99.96, "100"), (-99.6, "-100"), (2366.1, "2366"), (0, "0")]
)
def test_two_digits_need_no_exponent_for_large_numbers(value, said):
    assert two_digits(value) == said
