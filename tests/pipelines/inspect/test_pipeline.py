"""What an inspection finds, against dense float64, and what it warns of, in healthy and in broken files."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file

import lorafold
from lorafold.adapters import Adapter, load, save
from lorafold.common.errors import LorafoldError
from lorafold.pipelines.inspect.pipeline import inspect
from tests.adapters.samples import PREFIX, kohya_file, kohya_pair, normal, peft_folder, peft_pair
from tests.builders import DEMO, changed, random_adapter
from tests.builders import one_thread as one_thread
from tests.oracles import numerical_rank, update
from tests.pipelines.align.align_cases import SHAPES, rank_deficient, zeroed


def adapter(**parts) -> Adapter:
    return random_adapter("kohya", SHAPES, {"a": 5, "b": 2, "c": 1}, scale=-0.75, **parts)


def test_norms_and_ranks_are_those_of_dense_updates():
    found = inspect(adapter()).metrics()
    for name, module in zip(SHAPES, found["modules"], strict=True):
        delta = update(adapter().modules[name])
        sigma = torch.linalg.svdvals(delta)
        shares = sigma.square().cumsum(0) / sigma.square().sum()
        assert (module["name"], module["shape"], module["scale"]) == (name, list(delta.shape), -0.75)
        assert math.isclose(module["norm"], float(torch.linalg.matrix_norm(delta)), rel_tol=1e-12)
        assert math.isclose(module["spectral_norm"], float(sigma[0]), rel_tol=1e-12)
        assert module["used"] == numerical_rank(delta)
        assert module["rank_95"] == next(k for k, share in enumerate(shares, 1) if share >= 0.95)
    energy = sum(float(update(module).square().sum()) for module in adapter().modules.values())
    assert math.isclose(found["summary"]["norm"], math.sqrt(energy), rel_tol=1e-12)


def test_what_there_is_is_counted():
    summary = inspect(adapter()).metrics()["summary"]
    assert summary["parameters"] == 5 * (14 + 11) + 2 * (9 + 30) + 1 * (14 + 11)
    assert (summary["modules"], summary["kinds"], summary["ranks"]) == (3, {"linear": 3}, [1, 2, 5])
    assert summary["alphas"] == [-3.75, -1.5, -0.75]


def test_the_shipped_adapter_is_healthy():
    found = inspect(DEMO[0]).metrics()
    assert found["warnings"] == []
    assert (found["format"], found["summary"]["dtypes"], found["summary"]["ranks"]) == ("peft", ["float16"], [24])
    assert json.loads(json.dumps(found)) == {**found, "tags": [list(tag) for tag in found["tags"]]}


def test_training_metadata_are_summed_up():
    tags = json.dumps({"1_a": {"cat ": 3, "dog": 5}, "2_b": {"cat": 4, "odd": "x"}})
    metadata = {"ss_tag_frequency": tags, "modelspec.trigger_phrase": "xyz", "ss_base_model_version": "sd_v1"}
    found = inspect(replace(adapter(), metadata=metadata)).metrics()
    assert found["tags"] == [("cat", 7), ("dog", 5), ("odd", 0)]
    assert found["trigger_phrase"] == "xyz"
    assert found["base_model"] == {"name": "Stable Diffusion 1", "evidence": "ss_base_model_version sd_v1"}
    assert found["metadata"] == metadata


def nan(before: Adapter) -> Adapter:
    return changed(before, lambda m: replace(m, down=m.down * math.nan) if m.name == "b" else m)


def tiny(before: Adapter) -> Adapter:
    return changed(before, lambda m: replace(m, up=(1e-6 * m.up).half(), down=m.down.half()))


def scaled(before: Adapter, scale: float) -> Adapter:
    return changed(before, lambda m: replace(m, scale=scale))


@pytest.mark.parametrize(
    ("case", "warning"),
    [
        (lambda: nan(scaled(adapter(), 1.0)), "1 of 3 modules has NaN or Inf, such as b"),
        (lambda: zeroed(scaled(adapter(), 1.0)), "1 of 3 modules has an update of zero, such as a"),
        (lambda: scaled(adapter(), 0.0), "every update is zero: this adapter changes nothing"),
        (adapter, "3 of 3 modules have a negative scale"),
        (lambda: scaled(adapter(), 32.0), "3 of 3 modules have a scale above 10, up to 32"),
        (lambda: tiny(scaled(adapter(), 1.0)), "3 of 3 modules have mostly float16 subnormals"),
        (lambda: rank_deficient(random_adapter("kohya", SHAPES, 4)), "75% of the parameters hold all of the updates"),
    ],
)
def test_what_is_odd_is_said(case, warning):
    (said,) = inspect(case()).metrics()["warnings"]
    assert said.startswith(warning)


def test_a_healthy_adapter_gets_no_warning():
    assert inspect(scaled(adapter(), 1.0)).metrics()["warnings"] == []


def test_modules_that_are_not_finite_have_no_norm_and_the_others_do():
    modules = inspect(nan(adapter())).metrics()["modules"]
    assert [module["finite"] for module in modules] == [True, False, True]
    assert [module["norm"] is None for module in modules] == [False, True, False]
    every = changed(adapter(), lambda m: replace(m, up=m.up * math.inf))
    assert {module["norm"] for module in inspect(every).metrics()["modules"]} == {None}


def test_a_missing_alpha_is_said(tmp_path):
    pair = kohya_pair("lora_unet_a") | kohya_pair("lora_unet_b") | {"lora_unet_b.alpha": torch.tensor(1.0)}
    (said,) = inspect(kohya_file(tmp_path / "a.safetensors", pair)).metrics()["warnings"]
    assert said.startswith("no alpha in 1 of 2 modules, such as lora_unet_a")
    whole = save(adapter(), tmp_path / "b.safetensors")
    assert not any("no alpha" in said for said in inspect(whole).metrics()["warnings"])


@pytest.mark.parametrize("start", ["pissa", "pissa_niter_16", "olora"])
def test_an_adapter_of_a_changed_base_model_is_said(start, tmp_path):
    (said,) = inspect(peft_folder(tmp_path / "a", peft_pair(), init_lora_weights=start)).metrics()["warnings"]
    assert said.startswith(f"init_lora_weights={start}")


def test_dora_can_be_looked_at_without_its_base_model(tmp_path):
    magnitude = {f"{PREFIX}block.q_proj.lora_magnitude_vector": normal(6)}
    path = peft_folder(tmp_path / "a", peft_pair() | magnitude, use_dora=True)
    found = inspect(path).metrics()
    assert found["warnings"][0].startswith("1 of 1 modules has DoRA: merging needs base=PATH")
    assert found["modules"][0]["norm"] > 0
    with pytest.raises(LorafoldError, match="DoRA"):
        load(path)


def test_loha_is_looked_at_as_the_pair_that_it_becomes(tmp_path):
    names = {f"lora_unet_a.hada_w{i}_{part}": shape for i in (1, 2) for part, shape in (("a", (8, 2)), ("b", (2, 7)))}
    tensors = {key: normal(*shape, seed=seed) for seed, (key, shape) in enumerate(names.items())}
    path = kohya_file(tmp_path / "a.safetensors", tensors | {"lora_unet_a.alpha": torch.tensor(2.0)})
    found = inspect(path).metrics()
    w = list(tensors.values())
    delta = (w[0].double() @ w[1].double()) * (w[2].double() @ w[3].double())
    assert math.isclose(found["modules"][0]["norm"], float(torch.linalg.matrix_norm(delta)), rel_tol=1e-5)
    assert any(said.startswith("1 of 1 modules has no plain pair of factors") for said in found["warnings"])


def test_other_tensors_are_counted(tmp_path):
    head = {f"{PREFIX}head.weight": normal(3, 6)}
    path = peft_folder(tmp_path / "a", peft_pair() | head, modules_to_save=["head"])
    assert inspect(path).metrics()["summary"]["other_tensors"] == 1


def test_a_file_without_factors_is_refused(tmp_path):
    path = tmp_path / "a.safetensors"
    save_file({"lora_unet_a.diff_b": normal(4), "model.weight": normal(4)}, path)
    with pytest.raises(LorafoldError, match=r"of no known format|no LoRA factors"):
        inspect(path)


def test_the_size_is_that_of_the_file(tmp_path):
    path = save(adapter(), tmp_path / "a.safetensors")
    assert inspect(path).metrics()["bytes"] == path.stat().st_size
    assert inspect(adapter()).metrics()["bytes"] is None


def test_it_is_there_from_python():
    assert lorafold.inspect is inspect
