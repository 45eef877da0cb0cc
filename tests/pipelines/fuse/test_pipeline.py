"""Fused models beside dense float64, and what is refused. `tests/clients` compares them with PEFT's and diffusers'."""

from __future__ import annotations

import os
import resource
import signal
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

import lorafold
from lorafold.adapters.checkpoints.checkpoint import open_checkpoint
from lorafold.common.errors import LorafoldError
from lorafold.common.parallel import cpu_threads
from tests.adapters.checkpoints.models import LLAMA, llama, model_file, model_folder
from tests.adapters.checkpoints.test_layout import flux_parts, flux_whole
from tests.adapters.samples import kohya_file, kohya_pair, normal, peft_folder, peft_pair
from tests.builders import one_thread as one_thread

LAYER = "model.layers.1.mlp.up_proj"
KEY = f"{LAYER}.weight"


def adapter(folder: Path, seed: int = 0, name: str = LAYER, **config: object) -> Path:
    m, n = LLAMA.get(f"{name}.weight", (40, 16))
    pair = {key: tensor * (1 + seed) for key, tensor in peft_pair(name, m, n).items()}
    return peft_folder(folder, pair, **{"target_modules": [name.rpartition(".")[2]], **config})


def product(folder: Path) -> Tensor:
    """B A in float64, from the file."""
    tensors = load_file(folder / "adapter_model.safetensors")
    up, down = (next(value for key, value in tensors.items() if f"lora_{x}" in key).double() for x in "BA")
    return up @ down


def fused(base: Path, adapters: list[Path], **settings: object) -> dict[str, Tensor]:
    target = base.parent / ("fused.safetensors" if base.is_file() else "fused")
    lorafold.fuse(base, adapters, **settings).save(target)
    return {name: stored.read() for name, stored in open_checkpoint(target).tensors.items()}


def test_the_weighted_sum_in_float64(tmp_path):
    base = model_folder(tmp_path / "base", llama())
    adapters = [adapter(tmp_path / "a"), adapter(tmp_path / "b", seed=1)]
    found = fused(base, adapters, weights=[0.7, -0.3])
    exact = llama()[KEY].double() + 0.7 * product(adapters[0]) - 0.3 * product(adapters[1])
    assert torch.equal(found.pop(KEY), exact.float())
    assert all(torch.equal(tensor, llama()[key]) for key, tensor in found.items())


@pytest.mark.parametrize("rounding", ["nearest", "stochastic"])
def test_two_tensors_at_a_time_are_what_one_is(tmp_path, rounding):
    base = model_folder(tmp_path / "base", llama(torch.bfloat16))
    names = [key.removesuffix(".weight") for key in LLAMA]
    adapters = [adapter(tmp_path / name, name=name) for name in names]
    alone = fused(base, adapters, rounding=rounding)
    with cpu_threads(2):
        model = lorafold.fuse(base, adapters, rounding=rounding).write(tmp_path / "fused")
    assert [entry["name"] for entry in model.metrics()["modules"]] == [key for key in model_order(base) if key in LLAMA]
    found = {name: stored.read() for name, stored in open_checkpoint(model.path).tensors.items()}
    assert found.keys() == alone.keys() and all(torch.equal(found[key], alone[key]) for key in alone)


def model_order(base: Path) -> list[str]:
    """As the tensors lie in the files."""
    tensors = open_checkpoint(base).tensors
    return sorted(tensors, key=lambda name: (tensors[name].file, tensors[name].start))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_rounded_once_to_the_dtype_of_the_base(tmp_path, dtype):
    base = model_file(tmp_path / "base.safetensors", llama(dtype))
    found = fused(base, [adapter(tmp_path / "a")])[KEY]
    exact = llama(dtype)[KEY].double() + product(tmp_path / "a")
    assert found.dtype == dtype
    assert (found.double() - exact).abs().max() <= (exact.to(dtype).double() - exact).abs().max() * (1 + 1e-5)


def test_stochastic_rounding_keeps_small_updates_on_average(tmp_path):
    tensors = {**llama(torch.bfloat16), KEY: torch.ones(40, 16, dtype=torch.bfloat16)}
    base = model_folder(tmp_path / "base", tensors)
    pair = {key: torch.full_like(value, 0.03) for key, value in peft_pair(LAYER, 40, 16, 2).items()}
    small = peft_folder(tmp_path / "a", pair, target_modules=["up_proj"])
    assert torch.equal(fused(base, [small])[KEY], tensors[KEY])  # 1.0018 is 1 in bfloat16
    drawn = fused(base, [small], rounding="stochastic", seed=3)[KEY].double()
    assert set(drawn.unique().tolist()) == {1.0, 1.0078125}
    assert abs(float(drawn.mean()) - 1.0018) < 5e-4
    assert torch.equal(fused(base, [small], rounding="stochastic", seed=3)[KEY].double(), drawn)


def test_metrics_say_what_rounding_did(tmp_path):
    base = model_folder(tmp_path / "base", llama(torch.bfloat16))
    model = lorafold.fuse(base, [adapter(tmp_path / "a")]).write(tmp_path / "fused")
    (entry,) = model.metrics()["modules"]
    before, delta = llama(torch.bfloat16)[KEY].double(), product(tmp_path / "a")
    after = load_file(open_checkpoint(tmp_path / "fused").tensors[KEY].file)[KEY].double()
    assert entry["change"] == pytest.approx(float(delta.norm() / before.norm()), rel=1e-5)
    assert entry["rounding"] == pytest.approx(float((after - before - delta).norm() / delta.norm()), rel=1e-3)


@pytest.mark.parametrize("wrapper", ["", "_orig_mod.", "language_model."])
def test_what_wraps_the_model_may_differ(tmp_path, wrapper):
    base = model_folder(tmp_path / "base", {wrapper + key: tensor for key, tensor in llama().items()})
    found = fused(base, [adapter(tmp_path / "a")])
    assert torch.equal(found[wrapper + KEY], (llama()[KEY].double() + product(tmp_path / "a")).float())


@pytest.mark.parametrize("whole", [False, True])
def test_kohya_files_of_flux_in_either_layout(tmp_path, whole):
    """A fused layer of the file into three of the model, and the norm whose halves are exchanged; biases too."""
    name = "lora_unet_double_blocks_0_img_attn_qkv"
    final = "lora_unet_final_layer_adaLN_modulation_1"
    tensors = kohya_pair(name, 18, 6) | kohya_pair(final, 12, 6) | {f"{name}.diff_b": normal(18)}
    file = kohya_file(tmp_path / "a.safetensors", tensors)
    parts = flux_parts()
    base = model_file(tmp_path / "base.safetensors", flux_whole(parts) if whole else parts)
    found = fused(base, [file], weights=[2.0])
    product_of = {
        n: 2 * tensors[f"{n}.lora_up.weight"].double() @ tensors[f"{n}.lora_down.weight"].double()
        for n in (name, final)
    }
    expected = flux_whole(parts)
    expected["double_blocks.0.img_attn.qkv.weight"] = (
        expected["double_blocks.0.img_attn.qkv.weight"].double() + product_of[name]
    ).float()
    expected["double_blocks.0.img_attn.qkv.bias"] += 2 * normal(18)
    expected["final_layer.adaLN_modulation.1.weight"] = (
        expected["final_layer.adaLN_modulation.1.weight"].double() + product_of[final]
    ).float()
    found = found if whole else flux_whole(found)
    assert all(torch.allclose(found[key], expected[key], rtol=0, atol=1e-6) for key in expected)


def test_a_text_encoder_that_is_not_there_is_not_another_one(tmp_path):
    """Both encoders of SDXL have the same paths, and here the same shapes."""
    path = "text_model.encoder.layers.0.self_attn.q_proj"
    unet = {"down_blocks.1.attentions.0.transformer_blocks.1.attn1.to_q.weight": normal(4, 4)}
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "model_index.json").write_text("{}")
    model_file(tmp_path / "base" / "unet" / "diffusion_pytorch_model.safetensors", unet)
    model_file(tmp_path / "base" / "text_encoder_2" / "model.safetensors", {f"{path}.weight": normal(6, 5)})
    file = kohya_file(tmp_path / "a.safetensors", kohya_pair(f"lora_te1_{path.replace('.', '_')}"))
    with pytest.raises(LorafoldError, match=r"lora_te1_.*: the model .* has no layer of this name"):
        lorafold.fuse(tmp_path / "base", [file])


def _named(name: str):
    return lambda folder: adapter(folder / "a", name=name)


REFUSED = {
    "a layer that the model lacks": (
        _named("model.layers.7.mlp.up_proj"),
        {},
        r"layers.7.mlp.up_proj: the model .* has no layer of this name",
    ),
    "another width": (_named("lm_head"), {}, r"lm_head: 40 x 16, but in the model .* 50 x 16"),
    "a bias that the model lacks": (
        lambda folder: kohya_file(folder / "a.safetensors", {f"{LAYER}.diff_b": normal(40)}),
        {},
        "has no bias there",
    ),
    "weights": (_named(LAYER), {"weights": [1.0, 2.0]}, r"weights=\[1.0, 2.0\], expected a list of 1 finite numbers"),
    "rounding": (_named(LAYER), {"rounding": "down"}, "unknown rounding 'down'"),
    "NaN": (
        lambda folder: peft_folder(folder / "a", {k: v * torch.nan for k, v in peft_pair(LAYER, 40, 16).items()}),
        {},
        "lora_A.weight: holds NaN or Inf",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refusals(tmp_path, case):
    make, settings, words = REFUSED[case]
    base = model_folder(tmp_path / "base", llama())
    with pytest.raises(LorafoldError, match=words):
        lorafold.fuse(base, [make(tmp_path)], **settings)


def test_a_quantised_layer(tmp_path):
    base = model_folder(tmp_path / "base", {**llama(), KEY: torch.zeros(40, 16, dtype=torch.int8)})
    with pytest.raises(LorafoldError, match=f"{KEY}: quantised weights: dtype int8"):
        lorafold.fuse(base, [adapter(tmp_path / "a")])


def test_numbers_that_overflow(tmp_path):
    base = model_folder(tmp_path / "base", llama(torch.float16))
    with pytest.raises(LorafoldError, match=f"{KEY}: holds NaN or Inf.*lower the weights"):
        lorafold.fuse(base, [adapter(tmp_path / "a")], weights=[1e6]).save(tmp_path / "fused")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "base"]


def test_an_adapter_of_another_architecture(tmp_path):
    base = model_file(tmp_path / "base.safetensors", flux_parts())
    name = "lora_unet_input_blocks_4_1_transformer_blocks_1_attn1_to_q"
    file = kohya_file(tmp_path / "a.safetensors", kohya_pair(name))
    with pytest.raises(LorafoldError, match=r"a.safetensors: for SDXL, but the model .* is Flux 1"):
        lorafold.fuse(base, [file])


class TestOutput:
    @pytest.mark.parametrize("where", ["base", "base/inside", "link", "a"])
    def test_never_over_an_input(self, tmp_path, where):
        base = model_folder(tmp_path / "base", llama())
        (tmp_path / "link").symlink_to(base)
        result = lorafold.fuse(base, [adapter(tmp_path / "a")])
        before = contents(tmp_path)
        with pytest.raises(LorafoldError, match=r"must not be overwritten|inside the base"):
            result.save(tmp_path / where)
        assert contents(tmp_path) == before

    def test_a_folder_with_something_else_in_it(self, tmp_path):
        base = model_folder(tmp_path / "base", llama())
        result = lorafold.fuse(base, [adapter(tmp_path / "a")])
        result.save(tmp_path / "fused")
        result.save(tmp_path / "fused")  # of the same files only
        (tmp_path / "fused" / "notes.txt").write_text("mine")
        with pytest.raises(LorafoldError, match=r"the folder also holds notes\.txt"):
            result.save(tmp_path / "fused")

    def test_files_of_other_weights_stay_behind_and_are_named(self, tmp_path, caplog):
        base = model_folder(tmp_path / "base", llama(), shards=1)
        (base / "pytorch_model.bin").write_bytes(b"\x80")
        lorafold.fuse(base, [adapter(tmp_path / "a")]).save(tmp_path / "fused")
        assert sorted(path.name for path in (tmp_path / "fused").iterdir()) == ["config.json", "model.safetensors"]
        assert "1 files of weights in other formats or copies, such as pytorch_model.bin" in caplog.text

    @pytest.mark.parametrize("most", [0, 100, 3000])
    def test_a_full_disk(self, tmp_path, most):
        base = model_folder(tmp_path / "base", llama())
        result = lorafold.fuse(base, [adapter(tmp_path / "a")])
        before = contents(tmp_path)
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, hard))
        try:
            with pytest.raises(LorafoldError, match=r"cannot be written.*File too large"):
                result.save(tmp_path / "fused")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert contents(tmp_path) == before

    @pytest.mark.skipif(sys.platform == "win32", reason="no fork")
    @pytest.mark.parametrize("step", [0, 1, 2, 3])
    def test_killed_it_leaves_no_model(self, tmp_path, step, monkeypatch):
        """At the given tensor, or when all are written and not yet in place; the next run removes what it left."""
        from lorafold.pipelines.fuse import pipeline

        base = model_folder(tmp_path / "base", llama())
        result = lorafold.fuse(
            base, [adapter(tmp_path / "a"), adapter(tmp_path / "b", name="model.layers.0.mlp.up_proj")]
        )
        child = os.fork()
        if child == 0:
            real, left = pipeline.fused, [step]

            def deadly(*arguments):
                left[0] -= 1
                if left[0] < 0:
                    os.kill(os.getpid(), signal.SIGKILL)
                return real(*arguments)

            pipeline.fused = deadly
            os.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
            result.save(tmp_path / "fused")
            os._exit(0)
        assert os.WIFSIGNALED(os.waitpid(child, 0)[1])
        assert not (tmp_path / "fused").exists()
        result.save(tmp_path / "fused")
        assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b", "base", "fused"]

    def test_a_base_that_changes_meanwhile(self, tmp_path, monkeypatch):
        from lorafold.pipelines.fuse import pipeline

        base = model_folder(tmp_path / "base", llama())
        result, real = lorafold.fuse(base, [adapter(tmp_path / "a")]), pipeline.write_changed

        def slow(*arguments):
            real(*arguments)
            os.utime(base / "model-00001-of-00002.safetensors", ns=(0, 0))

        monkeypatch.setattr(pipeline, "write_changed", slow)
        with pytest.raises(LorafoldError, match="changed while it was read"):
            result.save(tmp_path / "fused")
        assert not (tmp_path / "fused").exists()


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
