"""PEFT loads what lorafold writes, and adds exactly Delta W: mixed ranks and scales, names that contain each other."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from lorafold.adapters import Adapter, Module, load, save
from lorafold.pipelines.merge.pipeline import merge
from lorafold.pipelines.resize.pipeline import resize
from tests.adapters.samples import normal, update

peft = pytest.importorskip("peft")


def base_model() -> nn.Module:
    """Linear layers "fc" and "block.fc", a convolution and an embedding."""
    torch.manual_seed(0)
    block = nn.ModuleDict({"fc": nn.Linear(5, 7), "conv": nn.Conv2d(3, 4, (3, 2)), "pointwise": nn.Conv2d(3, 4, 1)})
    return nn.ModuleDict({"fc": nn.Linear(5, 7), "block": block, "emb": nn.Embedding(11, 6)})


def modules(biased: bool) -> dict[str, Module]:
    """Different ranks and scales for all."""

    def make(name: str, m: int, n: int, r: int, scale: float, **rest: object) -> Module:
        bias = normal(m) if biased else None
        return Module(name, normal(m, r), normal(r, n), scale, bias=bias, **rest)

    made = [
        make("fc", 7, 5, 3, 1.0),
        make("block.fc", 7, 5, 2, 1.0),
        make("block.conv", 4, 18, 2, -0.3, kernel=(3, 2), kind="conv"),
        make("block.pointwise", 4, 3, 1, 1 / 3, kernel=(1, 1), kind="conv"),
    ]
    embedding = [] if biased else [make("emb", 6, 11, 2, 1.0, kind="embedding")]
    return {module.name: module for module in made + embedding}


def shaped(module: Module, weight: Tensor) -> Tensor:
    """Delta W in the layout of the layer's weight."""
    return (update(module).T if module.kind == "embedding" else update(module)).reshape(weight.shape)


@pytest.mark.parametrize("biased", [False, True])
def test_peft_adds_the_update(tmp_path: Path, biased: bool) -> None:
    adapter = Adapter("peft", modules(biased))
    before = base_model()
    loaded = peft.PeftModel.from_pretrained(base_model(), str(save(adapter, tmp_path / "out")))
    after = loaded.merge_and_unload()
    for name, module in adapter.modules.items():
        was, now = before.get_submodule(name), after.get_submodule(name)
        torch.testing.assert_close(
            now.weight.double(), was.weight.double() + shaped(module, was.weight), rtol=0, atol=1e-5
        )
        if module.bias is not None:
            torch.testing.assert_close(now.bias, was.bias + module.scale * module.bias, rtol=0, atol=1e-6)


def test_lorafold_reads_what_peft_writes(tmp_path: Path) -> None:
    config = peft.LoraConfig(
        r=3,
        lora_alpha=5,
        use_rslora=True,
        target_modules=["fc", "conv", "emb"],
        rank_pattern={"block.fc": 2},
        alpha_pattern={"^fc": 7},
        init_lora_weights=False,
    )
    model = peft.get_peft_model(base_model(), config)
    model.save_pretrained(str(tmp_path))
    adapter = load(tmp_path)
    layers = {name: model.base_model.model.get_submodule(name) for name in adapter.modules}
    assert set(layers) == {"fc", "block.fc", "block.conv", "emb"}
    for name, layer in layers.items():
        expected = layer.get_delta_weight("default").detach().double()
        torch.testing.assert_close(shaped(adapter.modules[name], expected), expected, rtol=0, atol=1e-5)
        assert adapter.modules[name].scale == pytest.approx(layer.scaling["default"], rel=1e-15)


@pytest.mark.parametrize("settings", [{}, {"rank_pattern": {"fc": 3}, "alpha_pattern": {"block.fc": 5}}])
@pytest.mark.parametrize("method", ["LoHaConfig", "LoKrConfig"])
def test_loha_and_lokr_folders_have_pefts_scale(tmp_path: Path, method: str, settings: dict) -> None:
    """alpha / r, even where LoKr's factors are whole: against PEFT's own Delta W, before and after."""
    targets = ["fc"] if method == "LoHaConfig" else ["fc", "pointwise"]  # LoHa's files do not tell a convolution
    config = getattr(peft, method)(r=2, alpha=8, target_modules=targets, init_weights=False, **settings)
    model = peft.get_peft_model(base_model(), config)
    model.save_pretrained(tmp_path / "product")
    merged = merge([tmp_path / "product"], rank="max").adapter
    plain = peft.PeftModel.from_pretrained(base_model(), str(save(merged, tmp_path / "plain")))
    for name in merged.modules:
        expected = model.base_model.model.get_submodule(name).get_delta_weight("default").double()
        layer = plain.base_model.model.get_submodule(name)
        got = layer.get_delta_weight("default").double()
        torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-6)


class Experts(nn.Module):
    """Three experts, whose weights are parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.up = nn.Parameter(torch.zeros(3, 5, 7))
        self.down = nn.Parameter(torch.zeros(3, 7, 5))


def with_experts() -> nn.Module:
    return nn.ModuleDict({"experts": Experts(), "fc": nn.Linear(5, 7)})


def test_experts_are_merged_each_by_itself(tmp_path: Path) -> None:
    """Against PEFT's own updates of both parameters and, at half the rank, the best update of each expert."""
    models = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        config = peft.LoraConfig(
            r=2, lora_alpha=3 + seed, target_modules=["fc"], target_parameters=["experts.up", "experts.down"],
            init_lora_weights=False,
        )  # fmt: skip
        models.append(peft.get_peft_model(with_experts(), config))
        models[seed].save_pretrained(tmp_path / str(seed))
    expected = [0.7 * one + 0.3 * other for one, other in zip(*map(deltas, models), strict=True)]
    merged = merge([tmp_path / "0", tmp_path / "1"], weights=[0.7, 0.3], core="sum", rank="max").adapter
    for rank, adapter in ((4, merged), (2, resize(merged, rank=2).adapter)):
        path = save(adapter, tmp_path / f"merged-{rank}")
        loaded = peft.PeftModel.from_pretrained(with_experts(), str(path))
        for got, want in zip(deltas(loaded), expected, strict=True):
            u, s, v = torch.linalg.svd(want.double(), full_matrices=False)
            best = u[:, :, :rank] * s[:, None, :rank] @ v[:, :rank]
            torch.testing.assert_close(got.double(), best, rtol=1e-4, atol=1e-5)


def deltas(model: nn.Module) -> list[Tensor]:
    """Updates of every parameter of the experts, from the outer wrapper inwards."""
    outer = model.base_model.model["experts"]
    return [wrapper.get_delta_weight("default") for wrapper in (outer, outer.base_layer)]
