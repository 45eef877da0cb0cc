"""Paths -> names that tell adapters apart."""

from __future__ import annotations

import pytest

from lorafold.common.text import short_names


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
