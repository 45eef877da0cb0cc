"""peft_linear and kohya_add give what those tools give: factors are added, cross terms and all."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

import lorafold
from lorafold.adapters import Adapter, Module
from lorafold.common.errors import LorafoldError
from tests.builders import changed, random_adapter, single
from tests.builders import one_thread as one_thread
from tests.demo_pair import gauged
from tests.oracles import relative, updates

SHAPES = {"a": (20, 15), "b": (9, 30)}
TOOLS = pytest.mark.parametrize("core", ["peft_linear", "kohya_add"])


def trio() -> list[Adapter]:
    return [random_adapter("kohya", SHAPES, 3, seed=i, scale=scale) for i, scale in enumerate((0.5, 2.0, 1.0), 1)]


def merged(adapters: list[Adapter], weights: list[float], core: str, **options) -> dict[str, Tensor]:
    return updates(lorafold.merge(adapters, weights=weights, core=core, rank="max", **options).adapter)


class TestPeft:
    """LoraModel.add_weighted_adapter of an installed PEFT."""

    @pytest.mark.parametrize("weights", [[0.7, 0.3], [1.0, -0.5], [0.2, 0.3, -0.5]], ids=str)
    def test_linear(self, weights):
        peft = pytest.importorskip("peft")
        torch.manual_seed(0)
        base = nn.ModuleDict({"fc": nn.Linear(8, 11), "block": nn.ModuleDict({"fc": nn.Linear(11, 7)})}).double()
        names = [f"adapter{i}" for i in range(len(weights))]
        common = {"r": 3, "target_modules": ["fc"], "init_lora_weights": False}
        configs = [peft.LoraConfig(lora_alpha=4 + i, use_rslora=i == 1, **common) for i in range(len(weights))]
        model = peft.get_peft_model(base, configs[0], names[0])
        for name, config in zip(names[1:], configs[1:], strict=True):
            model.add_adapter(name, config)
        layers = {key: model.base_model.model.get_submodule(key) for key in ("fc", "block.fc")}
        adapters = [
            Adapter("peft", {key: as_module(key, layer, name) for key, layer in layers.items()}) for name in names
        ]
        model.base_model.add_weighted_adapter(names, weights, "merged", combination_type="linear")
        found = merged(adapters, weights, "peft_linear")
        for key, layer in layers.items():
            assert relative(found[key], layer.get_delta_weight("merged").detach()) < 1e-6  # PEFT rounds the weights


def as_module(key: str, layer: nn.Module, name: str) -> Module:
    up, down = (getattr(layer, part)[name].weight.detach().double() for part in ("lora_B", "lora_A"))
    return Module(key, up, down, layer.scaling[name])


@pytest.mark.parametrize("ratios", [[1.0, 1.0, 1.0], [0.7, -0.3, 0.5]], ids=str)
def test_what_merge_lora_of_sd_scripts_does(ratios):
    """With alphas of files, the first file's as the base, and a module that the first file lacks."""
    adapters = trio()
    adapters[0] = replace(adapters[0], modules={"a": adapters[0].modules["a"]})
    found = merged(adapters, ratios, "kohya_add")
    for name in SHAPES:
        files = zip(ratios, adapters, strict=True)
        parts = [(ratio, adapter.modules[name]) for ratio, adapter in files if name in adapter.modules]
        alphas = [module.scale * module.rank for _, module in parts]
        up = down = 0
        for (ratio, module), alpha in zip(parts, alphas, strict=True):
            scale = math.sqrt(alpha / alphas[0]) * ratio
            up, down = up + module.up * abs(scale), down + module.down * scale
        assert relative(found[name], alphas[0] / 3 * up @ down) < 1e-12


@TOOLS
class TestBoth:
    @pytest.mark.parametrize("sign", [1, -1])
    def test_one_adapter_is_itself(self, core, sign):
        adapter = changed(trio()[1], lambda module: replace(module, scale=sign * module.scale))
        for name, delta in merged([adapter], [1.0], core).items():
            assert relative(delta, updates(adapter)[name]) < 1e-12

    def test_the_order_does_not_count(self, core):
        adapters, weights = trio(), [0.7, -0.3, 0.5]
        one, other = merged(adapters, weights, core), merged(adapters[::-1], weights[::-1], core)
        assert all(relative(one[name], other[name]) < 1e-12 for name in SHAPES)

    def test_opposite_weights_cancel(self, core):
        adapter = trio()[0]
        assert all(not bool(delta.any()) for delta in merged([adapter, adapter], [0.7, -0.7], core).values())

    def test_it_depends_on_the_factors_as_the_tool_does(self, core):
        first, second, _ = trio()
        plain = merged([first, second], [0.5, 0.5], core)
        turned = merged([gauged(first, 1), second], [0.5, 0.5], core)
        assert all(relative(turned[name], plain[name]) > 0.1 for name in SHAPES)

    def test_in_smaller_subspaces_it_is_the_projection(self, core):
        adapters, weights = trio(), [0.7, -0.3, 0.5]
        options = {"rank": 4, "subspace_weight": 0}
        result = lorafold.merge(adapters, weights=weights, core=core, **options)
        frames = updates(lorafold.merge(adapters, weights=weights, core="sum", **options).adapter)
        for name, whole in merged(adapters, weights, core).items():
            U, S, Vt = torch.linalg.svd(frames[name])
            assert S[3] > 1e-6 * S[0]
            U, V = U[:, :4], Vt[:4].T
            assert relative(updates(result.adapter)[name], U @ U.T @ whole @ V @ V.T) < 1e-9

    @pytest.mark.parametrize(("ranks", "listed"), [((3, 4), "3, 4"), ((2, 2, 1), "2, 2, 1")])
    def test_ranks_that_differ_are_refused_by_name(self, core, ranks, listed):
        adapters = [random_adapter("kohya", SHAPES, {"a": 2, "b": rank}) for rank in ranks]
        with pytest.raises(LorafoldError, match=f"b: ranks {listed}, but core={core} adds factors of equal rank. Use"):
            lorafold.merge(adapters, core=core)

    def test_an_adapter_without_the_module_has_no_rank_to_differ(self, core):
        first, second, _ = trio()
        few = replace(second, modules={"a": second.modules["a"]})
        found = merged([first, few], [1.0, 1.0], core)
        assert relative(found["b"], updates(first)["b"]) < 1e-12

    def test_zero_updates_are_no_trouble(self, core):
        silent = single(torch.zeros(6, 2).double(), torch.ones(2, 5).double())
        assert not bool(merged([silent, silent], [1.0, 1.0], core)["a"].any())
