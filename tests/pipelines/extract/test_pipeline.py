"""Extractions from small models beside dense float64: what is kept, what is left out and why, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

import lorafold
from lorafold.adapters import Adapter
from lorafold.common.errors import LorafoldError
from lorafold.common.parallel import cpu_threads
from tests.adapters.checkpoints.models import changed, llama, model_file, model_folder
from tests.adapters.checkpoints.test_layout import flux_parts, flux_whole
from tests.adapters.samples import normal, update
from tests.builders import one_thread as one_thread


def pair(folder: Path, tuned: dict[str, Tensor], base: dict[str, Tensor] | None = None) -> tuple[Path, Path]:
    return model_folder(folder / "base", base or llama()), model_file(folder / "tuned.safetensors", tuned)


def deltas(base: dict[str, Tensor], tuned: dict[str, Tensor]) -> dict[str, Tensor]:
    changes = {key: tuned[key].double() - base[key].double() for key in base if base[key].ndim > 1}
    return {key.removesuffix(".weight"): change.flatten(1) for key, change in changes.items() if change.any()}


def truncated(matrix: Tensor, rank: int) -> Tensor:
    U, S, Vh = torch.linalg.svd(matrix, full_matrices=False)
    return (U[:, :rank] * S[:rank]) @ Vh[:rank]


def worst(adapter: Adapter, expected: dict[str, Tensor]) -> float:
    assert adapter.modules.keys() == expected.keys()
    return max(
        float((update(adapter.modules[name]) - matrix).norm() / matrix.norm()) for name, matrix in expected.items()
    )


def test_two_layers_at_a_time_are_what_one_is(tmp_path):
    base, tuned = pair(tmp_path, changed(llama(), rank=3))
    alone = lorafold.extract(base, tuned, rank=2)
    with cpu_threads(2):
        both = lorafold.extract(base, tuned, rank=2)
    assert list(both.adapter.modules) == list(alone.adapter.modules)
    for name, module in alone.adapter.modules.items():
        assert module.up.equal(both.adapter.modules[name].up) and module.down.equal(both.adapter.modules[name].down)


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("rank", [2, 5])
def test_every_layer_is_the_truncated_svd_of_its_difference(tmp_path, rank, exact):
    base, tuned = llama(), changed(llama(), rank=12)
    result = lorafold.extract(*pair(tmp_path, tuned), rank=rank, exact=exact)
    expected = deltas(base, tuned)
    assert worst(result.adapter, {name: truncated(matrix, rank) for name, matrix in expected.items()}) < 1e-5
    for entry in result.metrics()["modules"]:
        matrix = expected[entry["name"]]
        lost = (matrix - truncated(matrix, rank)).square().sum() / matrix.square().sum()
        assert entry["error"] == pytest.approx(float(lost), rel=1e-4)
        assert entry["retained"] == pytest.approx(1 - float(lost), rel=1e-5)


def test_a_fused_adapter_comes_back_at_its_own_rank(tmp_path):
    base = model_folder(tmp_path / "base", llama())
    adapter = lorafold.extract(base, model_file(tmp_path / "t.safetensors", changed(llama(), rank=3)), rank=3).adapter
    lorafold.fuse(base, [adapter], weights=[0.5]).save(tmp_path / "fused")
    again = lorafold.extract(base, tmp_path / "fused", rank=8).adapter
    assert {module.rank for module in again.modules.values()} == {3}
    assert worst(again, {name: 0.5 * update(module) for name, module in adapter.modules.items()}) < 1e-5


def test_models_behind_different_wrappers(tmp_path):
    base, tuned = llama(), {f"model.language_{key}": tensor for key, tensor in changed(llama()).items()}
    result = lorafold.extract(*pair(tmp_path, tuned), rank=2)
    assert worst(result.adapter, deltas(base, changed(llama()))) < 1e-5


def test_energy(tmp_path):
    base, tuned = llama(), changed(llama(), rank=12)
    result = lorafold.extract(*pair(tmp_path, tuned), energy=0.8)
    for name, matrix in deltas(base, tuned).items():
        squares = torch.linalg.svdvals(matrix).square()
        fewest = int((squares.cumsum(0) < 0.8 * squares.sum()).sum()) + 1
        assert result.adapter.modules[name].rank == fewest


def test_a_budget_buys_what_costs_least(tmp_path):
    _, tuned = llama(), changed(llama(), rank=12)
    full = lorafold.extract(*pair(tmp_path, tuned), rank=12)
    megabytes = full.metrics()["summary"]["parameters"] * 4 / 1e6
    half = lorafold.extract(tmp_path / "base", tmp_path / "tuned.safetensors", budget=megabytes / 2)
    summary = half.metrics()["summary"]
    assert 0.4 * megabytes < summary["parameters"] * 4 / 1e6 <= megabytes / 2
    assert summary["retained"] > 0.5 and summary["error"] is None
    with pytest.raises(LorafoldError, match=r"budget=0.0001 MB is less than what rank 1 in every layer takes"):
        lorafold.extract(tmp_path / "base", tmp_path / "tuned.safetensors", budget=1e-4)


class TestLeftOut:
    def test_equal_layers(self, tmp_path):
        tuned = changed(llama(), only="layers.1.mlp.up")
        result = lorafold.extract(*pair(tmp_path, tuned))
        assert list(result.adapter.modules) == ["model.layers.1.mlp.up_proj"]
        assert result.metrics()["summary"]["left_out"] == {}

    def test_the_rounding_of_another_precision(self, tmp_path):
        tuned = {key: tensor.bfloat16() for key, tensor in llama().items()}
        tuned["model.layers.0.mlp.up_proj.weight"] = changed(llama(), size=0.5)[
            "model.layers.0.mlp.up_proj.weight"
        ].bfloat16()
        result = lorafold.extract(*pair(tmp_path, tuned), rank=4)
        assert list(result.adapter.modules) == ["model.layers.0.mlp.up_proj"]
        assert len(result.left_out["rounding"]) == 5
        assert result.adapter.modules["model.layers.0.mlp.up_proj"].rank == 2

    def test_the_same_model_in_another_precision(self, tmp_path):
        tuned = {key: tensor.half() for key, tensor in llama().items()}
        with pytest.raises(LorafoldError, match=r"in 6 layers, but in none by more than the rounding of the files"):
            lorafold.extract(*pair(tmp_path, tuned), biases=True)

    def test_embeddings_and_norms_unless_asked_for(self, tmp_path):
        tuned = changed(llama(), only="weight")
        tuned["model.layers.0.input_layernorm.weight"] = normal(16)
        base, path = pair(tmp_path, tuned)
        result = lorafold.extract(base, path)
        assert result.left_out == {
            "embeddings": ("lm_head.weight", "model.embed_tokens.weight"),
            "biases": ("model.layers.0.input_layernorm.weight",),
        }
        whole = lorafold.extract(base, path, embeddings=True, biases=True)
        assert whole.left_out == {}
        assert whole.adapter.modules["model.embed_tokens"].kind == "embedding"
        kept = whole.adapter.extras["base_model.model.model.layers.0.input_layernorm.weight"]
        assert torch.equal(kept, tuned["model.layers.0.input_layernorm.weight"])
        assert whole.adapter.config["modules_to_save"] == ["model.layers.0.input_layernorm"]
        lorafold.fuse(base, [whole.save(tmp_path / "a")]).save(tmp_path / "fused")
        with pytest.raises(LorafoldError, match=r"no layer differs|rounding of the files"):
            lorafold.extract(path, tmp_path / "fused", embeddings=True, biases=True)

    def test_a_batch_norm_has_no_place_in_a_peft_adapter(self, tmp_path, caplog):
        norm = {"norm.weight": torch.ones(9), "norm.running_mean": torch.zeros(9)}
        tuned = {**changed(llama()), **norm, "norm.weight": normal(9)}
        result = lorafold.extract(*pair(tmp_path, tuned, {**llama(), **norm}), biases=True)
        assert result.left_out == {"unnamed": ("norm.weight",)} and "have no place" in caplog.text

    def test_an_embedding_that_may_be_the_last_layer_too(self, tmp_path, caplog):
        tied = {key: tensor for key, tensor in llama().items() if "lm_head" not in key}
        lorafold.extract(*pair(tmp_path, changed(tied, only="weight"), tied), embeddings=True)
        assert "may use this embedding as its last layer too" in caplog.text

    def test_tensors_of_no_layer_are_told_of(self, tmp_path, caplog):
        base = {**llama(), "inv_freq": torch.ones(4)}
        result = lorafold.extract(*pair(tmp_path, {**changed(llama()), "inv_freq": torch.zeros(4)}, base))
        assert result.left_out == {"other": ("inv_freq",)}
        assert "1 tensors changed that belong to no layer" in caplog.text

    def test_layers_of_one_model_alone_are_told_of(self, tmp_path, caplog):
        tuned = {**changed(llama()), "score.weight": normal(3, 16)}
        result = lorafold.extract(*pair(tmp_path, tuned))
        assert result.left_out == {"alone": ("score",)}
        assert "are in one of the two models only" in caplog.text


@pytest.mark.parametrize("form", ["kohya", "diffusers", "comfyui", "peft"])
@pytest.mark.parametrize("turned", [False, True])
def test_flux_across_its_two_layouts(tmp_path, form, turned):
    """A single file in the original names, and a folder of diffusers: the difference of every layer, whole or split."""
    base, tuned = flux_parts(), changed(flux_parts(), only=".")
    front = "model.diffusion_model."
    whole = [{front + key: value for key, value in flux_whole(one).items()} for one in (base, tuned)]
    paths = [
        model_file(tmp_path / "base.safetensors", whole[0] if turned else base),
        model_file(tmp_path / "tuned.safetensors", tuned if turned else whole[1]),
    ]
    result = lorafold.extract(*paths, format=form, rank=6)
    fused_code = form in ("kohya", "comfyui")
    expected = deltas(*whole) if fused_code else deltas(base, tuned)
    found = {
        sorted(expected)[place]: update(module)
        for place, (_, module) in enumerate(sorted(result.adapter.modules.items(), key=lambda item: _plain(item[0])))
    }
    assert len(found) == len(expected)
    for (name, matrix), ours in zip(
        sorted(expected.items(), key=lambda item: _plain(item[0])), found.values(), strict=True
    ):
        assert (ours - matrix).norm() < 1e-5 * matrix.norm(), name
    result.save(tmp_path / ("a" if form == "peft" else "a.safetensors"))
    model = lorafold.fuse(paths[0], [tmp_path / ("a" if form == "peft" else "a.safetensors")])
    model.save(tmp_path / "fused.safetensors")
    with pytest.raises(LorafoldError, match=r"no layer differs|rounding of the files"):
        lorafold.extract(tmp_path / "fused.safetensors", paths[1])


def _plain(name: str) -> str:
    for front in ("lora_unet_", "transformer.", "model.diffusion_model.", "diffusion_model."):
        name = name.removeprefix(front)
    return name.replace(".", "_")


def _nan(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    tensors["model.layers.0.mlp.up_proj.weight"][0, 0] = torch.nan
    return tensors


REFUSED = {
    "the same": (llama, {}, "no layer differs"),
    "NaN": (lambda: _nan(changed(llama())), {}, "model.layers.0.mlp.up_proj.weight: holds NaN or Inf"),
    "another width": (
        lambda: {**changed(llama()), "model.layers.0.mlp.up_proj.weight": normal(40, 8)},
        {},
        "model.layers.0.mlp.up_proj: 40 x 8, but 40 x 16 in the base",
    ),
    "other names": (lambda: {"a.weight": normal(3, 3)}, {}, "0 layers are in both models"),
    "nothing but an embedding": (lambda: changed(llama(), only="embed"), {}, "Write embeddings=true"),
    "a format of other models": (lambda: changed(llama()), {"format": "kohya"}, "format=kohya, for image models"),
    "two shares": (llama, {"energy": 0.5, "budget": 3.0}, "energy and budget given, expected one of them"),
    "no share": (llama, {"energy": 1.5}, "energy=1.5, expected a share"),
    "rank 0": (llama, {"rank": 0}, "rank=0, expected at least 1"),
    "an unknown dtype": (llama, {"dtype": "int8"}, "unknown dtype 'int8'"),
    "an unknown format": (llama, {"format": "koya"}, "Did you mean 'kohya'"),
    "quantised": (
        lambda: {**llama(), "model.layers.0.mlp.up_proj.weight": torch.zeros(40, 16, dtype=torch.int8)},
        {},
        "quantised weights: dtype int8",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refusals(tmp_path, case):
    make, settings, words = REFUSED[case]
    with pytest.raises(LorafoldError, match=words):
        lorafold.extract(*pair(tmp_path, make()), **settings)


def test_an_output_over_a_model(tmp_path):
    base, tuned = pair(tmp_path, changed(llama()))
    result = lorafold.extract(base, tuned)
    with pytest.raises(LorafoldError, match=r"the folder also holds config\.json"):
        result.save(base)
    (tmp_path / "a").symlink_to(base)
    before = sorted(base.iterdir())
    with pytest.raises(LorafoldError):
        result.save(tmp_path / "a")
    assert sorted(base.iterdir()) == before
