"""What cannot be merged is refused with one line that names the file, the key, and what to do."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import lorafold
from lorafold.adapters import Adapter, Module
from lorafold.common.errors import LorafoldError
from tests.adapters.samples import kohya_file, kohya_pair, peft_folder, peft_pair
from tests.builders import Source, random_adapter, single
from tests.builders import one_thread as one_thread

S = Source(0)


def refusal(adapters, **options) -> str:
    with pytest.raises(LorafoldError) as caught:
        lorafold.merge(adapters, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("part", ["lora_up.weight", "lora_down.weight"])
def test_a_number_that_is_not_finite_in_a_kohya_file(tmp_path, part, bad):
    tensors = kohya_pair("lora_unet_a") | kohya_pair("lora_unet_b")
    tensors[f"lora_unet_b.{part}"].view(-1)[3] = bad
    good = kohya_file(tmp_path / "good.safetensors", kohya_pair("lora_unet_a"))
    wrong = kohya_file(tmp_path / "wrong.safetensors", tensors)
    message = refusal([good, wrong], rank=2)
    assert f"{wrong}: lora_unet_b.{part}: holds NaN or Inf, expected finite numbers" in message
    assert str(good) not in message


def test_a_number_that_is_not_finite_in_a_peft_folder(tmp_path):
    tensors = peft_pair()
    key = next(key for key in tensors if "lora_A" in key)
    tensors[key][0, 0] = float("nan")
    folder = peft_folder(tmp_path / "adapter", tensors)
    assert f"{folder}: {key}: holds NaN or Inf" in refusal([folder], rank=2)


def test_a_bias_that_is_not_finite(tmp_path):
    key = "base_model.model.block.q_proj.lora_B.bias"
    bias = torch.tensor([1.0, float("nan"), 0, 0, 0, 0])
    folder = peft_folder(tmp_path / "adapter", peft_pair() | {key: bias}, lora_bias=True)
    assert f"{folder}: {key}: holds NaN or Inf" in refusal([folder], rank=2)


def test_another_additive_tensor_that_is_not_finite(tmp_path):
    tensors = kohya_pair("a") | {"a.diff_b": torch.tensor([float("nan")] * 6)}
    file = kohya_file(tmp_path / "wrong.safetensors", tensors)
    assert f"{file}: a.diff_b: holds NaN or Inf" in refusal([file], rank=2)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"m": 6, "n": 5}, {"m": 7, "n": 5}),
        ({"m": 6, "n": 5}, {"m": 6, "n": 8}),
        ({"m": 6, "n": 5}, {"m": 5, "n": 6}),
    ],
    ids=["m", "n", "transposed"],
)
def test_shapes_that_differ(tmp_path, one, other):
    files = [
        kohya_file(tmp_path / f"{name}.safetensors", kohya_pair("fine") | kohya_pair("lora_unet_x", **sizes))
        for name, sizes in (("one", one), ("other", other))
    ]
    message = refusal(files, rank=2)
    assert message.startswith(f"{files[1]}: lora_unet_x: ")
    assert f"{one['m']} x {one['n']}" in message and f"{other['m']} x {other['n']}" in message
    assert "base model" in message


KINDS = {
    "kernels of one size": ({"kernel": (3, 3), "kind": "conv"}, {"kernel": (9,), "kind": "conv"}),
    "a wide and a pointwise kernel": ({"kernel": (3, 3), "kind": "conv"}, {"kernel": (1, 1), "kind": "conv"}),
    "a kernel and a linear layer": ({"kernel": (3, 3), "kind": "conv"}, {}),
    "an embedding and a linear layer": ({"kind": "embedding", "form": "peft"}, {"form": "peft"}),
}


@pytest.mark.parametrize(("one", "other"), KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("reverse", [False, True])
def test_layers_of_different_kinds(one, other, reverse):
    adapters = [single(S.normal(4, 2), S.normal(2, 18), **parts) for parts in (one, other)]
    named = [replace(adapter, path=Path(f"{i}.safetensors")) for i, adapter in enumerate(adapters)]
    message = refusal(named[::-1] if reverse else named, rank=2)
    assert message.startswith(f"{0 if reverse else 1}.safetensors: a: ΔW is 4 x 18 (")
    assert "but 4 x 18 (" in message


def test_the_third_of_three_files_is_the_one_named(tmp_path):
    sizes = (6, 6, 7)
    files = [kohya_file(tmp_path / f"{i}.safetensors", kohya_pair("x", m=m)) for i, m in enumerate(sizes)]
    assert refusal(files, rank=2).startswith(f"{files[2]}: x: ")


def test_additive_tensors_whose_shapes_differ():
    adapters = [
        replace(
            single(S.normal(4, 2), S.normal(2, 3)),
            deltas={"a.diff_b": S.normal(size)},
            path=Path(f"{size}.safetensors"),
        )
        for size in (4, 5)
    ]
    assert refusal(adapters, rank=2).startswith("5.safetensors: a.diff_b: shape (5,) here but (4,) in another adapter")


def test_whole_weights_that_differ():
    extras = [{"head": torch.zeros(2)}, {"head": torch.ones(2)}]
    adapters = [
        replace(random_adapter("peft", {"a": (4, 4)}, 2), extras=extra, path=Path(str(i)))
        for i, extra in enumerate(extras)
    ]
    message = refusal(adapters, rank=2)
    assert message.startswith("1: head: a full weight that differs between the adapters")


def test_no_common_format(tmp_path):
    kohya = kohya_file(tmp_path / "k.safetensors", kohya_pair())
    peft = peft_folder(tmp_path / "p", peft_pair())
    message = refusal([kohya, peft], rank=2)
    assert message.startswith(f"{peft}: block.q_proj: not a layer of any architecture known by name")
    assert "so it cannot be matched between kohya and peft files" in message


@pytest.mark.parametrize("adapters", [[], (), "a.safetensors"], ids=repr)
def test_no_list_of_adapters(adapters):
    assert "expected a list of at least one" in refusal(adapters)


def test_adapters_without_modules():
    assert "no adapted module in any adapter" in refusal([Adapter("kohya", {}), Adapter("kohya", {})])


def test_a_first_adapter_without_modules():
    """Its dtype cannot be the one to save in; that of the next can."""
    full = random_adapter("kohya", {"a": (4, 4)}, 2, dtype=torch.float16)
    result = lorafold.merge([Adapter("kohya", {}), full], rank=2)
    assert result.adapter.modules["a"].up.dtype == torch.float16


FILES = {
    "missing": None,
    "empty": b"",
    "text": b"this is no safetensors file",
    "truncated": "truncated",
}


@pytest.mark.parametrize("content", FILES.values(), ids=FILES)
def test_files_that_are_none(tmp_path, content):
    good = kohya_file(tmp_path / "good.safetensors", kohya_pair())
    bad = tmp_path / "bad.safetensors"
    if content == "truncated":
        save_file(kohya_pair(), bad)
        bad.write_bytes(bad.read_bytes()[:-7])
    elif content is not None:
        bad.write_bytes(content)
    assert refusal([good, bad], rank=2).startswith(f"{bad}: ")


def test_merged_numbers_too_large_for_the_dtype(tmp_path):
    adapter = random_adapter("kohya", {"a": (4, 4)}, 2, dtype=torch.float16)
    result = lorafold.merge([adapter], weights=[1e12], rank=2)
    with pytest.raises(LorafoldError, match=r"a\.lora_.*too large for the dtype: save as float32 or bfloat16"):
        lorafold.save(result.adapter, tmp_path / "m.safetensors")
    assert list(tmp_path.iterdir()) == []


def test_finite_factors_whose_products_are_not():
    module = Module("a", torch.full((4, 2), 1e200, dtype=torch.float64), torch.ones(2, 3, dtype=torch.float64), 1.0)
    with pytest.raises(LorafoldError, match=r"overflow float64.*absurd alpha"):
        lorafold.merge([Adapter("kohya", {"a": module})], rank=1)
