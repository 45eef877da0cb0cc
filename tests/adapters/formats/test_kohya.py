"""kohya files against hand formulas: scales, layouts, Tucker cores, further tensors."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from lorafold.adapters import Adapter, Module, load, save
from lorafold.pipelines.merge.pipeline import merge
from tests.adapters.samples import kohya_file, kohya_pair, normal, update


@pytest.mark.parametrize(
    ("alpha", "rank", "scale"),
    [
        pytest.param(None, 4, 1.0, id="missing: as if alpha were the rank"),
        pytest.param(torch.tensor(1.0), 4, 0.25, id="0-d"),
        pytest.param(torch.tensor([8.0]), 4, 2.0, id="one element"),
        pytest.param(torch.tensor(3.0, dtype=torch.float16), 4, 0.75, id="float16"),
        pytest.param(torch.tensor(3.0, dtype=torch.bfloat16), 2, 1.5, id="bfloat16"),
        pytest.param(torch.tensor(0.1, dtype=torch.float64), 1, 0.1, id="float64"),
        pytest.param(torch.tensor(16), 4, 4.0, id="integer"),
        pytest.param(torch.tensor(0.0), 4, 0.0, id="stored zero: a zero update"),
        pytest.param(torch.tensor(-2.0), 4, -0.5, id="negative"),
    ],
)
def test_scale_is_alpha_over_rank(tmp_path: Path, alpha: torch.Tensor | None, rank: int, scale: float) -> None:
    tensors = kohya_pair("lora_te_x", r=rank) | ({} if alpha is None else {"lora_te_x.alpha": alpha})
    module = load(kohya_file(tmp_path / "a.safetensors", tensors)).modules["lora_te_x"]
    assert module.scale == scale
    assert (module.rank, module.shape, module.kernel, module.kind) == (rank, (6, 5), (), "linear")


@pytest.mark.parametrize(
    "name", ["lora_unet_down_blocks_0", "lora_te1_text", "lora_unet_blocks_12.self_attn.k", "plain"]
)
def test_names_are_those_of_the_file(tmp_path: Path, name: str) -> None:
    adapter = load(kohya_file(tmp_path / "any-name.safetensors", kohya_pair(name), {"ss_network_dim": "2"}))
    assert list(adapter.modules) == [name]
    assert (adapter.format, adapter.metadata, adapter.config) == ("kohya", {"ss_network_dim": "2"}, {})


@pytest.mark.parametrize("kernel", [(1, 1), (3, 3), (1, 5), (3,), (2, 2, 2)])
def test_a_convolution_is_flattened_and_restored(tmp_path: Path, kernel: tuple[int, ...]) -> None:
    down, up = normal(2, 4, *kernel), normal(6, 2, *(1 for _ in kernel), seed=3)
    path = kohya_file(tmp_path / "a.safetensors", {"c.lora_down.weight": down, "c.lora_up.weight": up})
    adapter = load(path)
    module = adapter.modules["c"]
    assert (module.kernel, module.kind) == (kernel, "conv")
    dense = torch.einsum("or,ri...->oi...", up.flatten(1).double(), down.double())
    torch.testing.assert_close(update(module).reshape(6, 4, *kernel), dense, rtol=1e-12, atol=1e-12)
    written = load_file(save(adapter, tmp_path / "b.safetensors"))
    assert torch.equal(written["c.lora_down.weight"], down) and torch.equal(written["c.lora_up.weight"], up)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_a_tucker_core_is_contracted_exactly(tmp_path: Path, dtype: torch.dtype) -> None:
    up, down = normal(6, 3, 1, 1, dtype=dtype), normal(3, 4, 1, 1, dtype=dtype, seed=1)
    mid = normal(3, 3, 3, 2, dtype=dtype, seed=2)
    parts = {"up": up, "down": down, "mid": mid}
    tensors = {f"c.lora_{part}.weight": tensor for part, tensor in parts.items()} | {"c.alpha": torch.tensor(1.5)}
    module = load(kohya_file(tmp_path / "a.safetensors", tensors)).modules["c"]
    dense = 0.5 * torch.einsum("oakl,abpq,bimn->oipq", up.double(), mid.double(), down.double())
    tolerance = 1e-13 if dtype is torch.float64 else 1e-6
    torch.testing.assert_close(update(module).reshape(dense.shape), dense, rtol=tolerance, atol=tolerance)
    assert (module.rank, module.kernel) == (3, (3, 2))
    assert module.down.dtype == torch.promote_types(dtype, torch.float32)


def test_additive_tensors_stand_apart(tmp_path: Path) -> None:
    extra = {"lora_unet_n.diff": normal(3), "lora_unet_n.diff_b": normal(3, seed=1), "lora_unet_n.w_norm": normal(2)}
    adapter = load(kohya_file(tmp_path / "a.safetensors", kohya_pair() | extra))
    assert list(adapter.modules) == ["lora_unet_a"]
    assert adapter.deltas.keys() == extra.keys()


def test_alpha_carries_the_scale_so_that_factors_keep_their_bits(tmp_path: Path) -> None:
    up, down = normal(6, 4, dtype=torch.float16), normal(4, 5, dtype=torch.float16)
    written = load_file(save(Adapter("kohya", {"a": Module("a", up, down, 0.75)}), tmp_path / "a.safetensors"))
    assert torch.equal(written["a.alpha"], torch.tensor(3.0))
    assert torch.equal(written["a.lora_up.weight"], up) and torch.equal(written["a.lora_down.weight"], down)


def test_a_folder_with_one_file_is_fine(tmp_path: Path) -> None:
    kohya_file(tmp_path / "x.safetensors", kohya_pair())
    assert load(tmp_path).format == "kohya"


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.float8_e5m2], ids=str)
def test_factors_of_eight_bits_are_read_exactly(tmp_path: Path, dtype: torch.dtype) -> None:
    pair = {key: tensor.to(dtype) for key, tensor in kohya_pair().items()}
    (module,) = load(kohya_file(tmp_path / "a.safetensors", pair)).modules.values()
    assert module.up.dtype == module.down.dtype == torch.bfloat16
    down, up = (pair[f"lora_unet_a.lora_{part}.weight"].double() for part in ("down", "up"))
    assert torch.equal(update(module), up @ down)


def test_modulations_add_up_and_a_bundled_embedding_is_carried(tmp_path: Path) -> None:
    bundled = {"bundle_emb.word.string_to_param.*": normal(2, 4)}
    modulation = {"lora_unet_a.diff_m": normal(1, 6, 4)}
    one = kohya_file(tmp_path / "a.safetensors", kohya_pair() | bundled | modulation)
    other = kohya_file(tmp_path / "b.safetensors", kohya_pair() | modulation)
    merged = load(save(merge([one, other], weights=[0.5, 2.0]).adapter, tmp_path / "merged.safetensors"))
    assert all(torch.equal(merged.extras[key], tensor) for key, tensor in bundled.items())
    torch.testing.assert_close(merged.deltas["lora_unet_a.diff_m"], 2.5 * normal(1, 6, 4))
