"""extract and fuse on whole models, beside dense SVDs, PEFT and copying the files: one command, JSON and a table.

    python tests/benchmarks/whole_models.py            # measures; writes docs/whole-models.json and the table
    python tests/benchmarks/whole_models.py --table    # the table alone, from the JSON

Takes 10 GB of disk. The models are synthetic, in bfloat16, in the shapes that transformers and diffusers make. What was
trained is a difference with singular values that fall as 1 / j^0.87 (see synthetic.py), of a fiftieth of the weights'
norm. Every measurement is a process of its own, and the files are in the page cache; processor seconds tell more than
seconds where the machine is not idle. Dense SVDs are timed on one layer of the shapes that hold most, on one thread,
whose processor seconds hold no waiting for another one, and counted as often as the shape occurs. They are what
mergekit 0.1.5 does (`torch.linalg.svd`, float32, full_matrices=False).
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from resource import RUSAGE_SELF, getrusage
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

from children import Bench

Json = dict[str, Any]
ROOT = Path(__file__).resolve().parents[2]
DATA, DOCUMENT = ROOT / "docs" / "whole-models.json", ROOT / "docs" / "guides" / "whole-models.md"
_MARK, _END = "<!-- whole_models.py -->\n", "\n## From Python"
RANK, DTYPE = 32, "bfloat16"
_PARTS, _DECAY, _SHARE, _SIZE = 256, 0.87, 0.02, 0.02
_SHARD = 900_000_000
_SHAPES = 4  # that are decomposed; a Llama has no more
LLAMA = {
    "hidden_size": 2048,
    "intermediate_size": 5632,
    "num_hidden_layers": 22,
    "num_attention_heads": 32,
    "num_key_value_heads": 4,
    "vocab_size": 32000,
    "tie_word_embeddings": False,
}
# Two of the ten transformer layers that SDXL has in its widest blocks, for time and disk; all else is SDXL's.
SDXL = {
    "block_out_channels": (320, 640, 1280),
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "transformer_layers_per_block": (1, 2, 2),
    "attention_head_dim": (5, 10, 20),
    "cross_attention_dim": 2048,
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 2816,
}
TITLES = {"llama": "Llama, 1.1 B parameters", "sdxl": "SDXL's U-Net, 2 of 10 layers in its widest blocks"}


def _model(name: str) -> Any:
    """Without memory for its weights."""
    import torch

    with torch.device("meta"):
        if name == "sdxl":
            from diffusers import UNet2DConditionModel

            return UNet2DConditionModel(**SDXL)
        from transformers import LlamaConfig, LlamaForCausalLM

        return LlamaForCausalLM(LlamaConfig(**LLAMA, dtype=DTYPE, architectures=["LlamaForCausalLM"]))


def write(job: Json) -> Json:
    """Both models of a case, in shards."""
    model = _model(job["case"])
    for tuned in (False, True):
        folder = Path(job["data"]) / ("tuned" if tuned else "base")
        folder.mkdir(parents=True, exist_ok=True)
        (model.save_config if job["case"] == "sdxl" else model.config.save_pretrained)(folder)
        _write_shards(folder, ((key, _tensor(key, value, tuned)) for key, value in model.state_dict().items()))
    return {"parameters": sum(value.numel() for value in model.state_dict().values())}


def _write_shards(folder: Path, tensors: Iterator[tuple[str, Any]]) -> None:
    from safetensors.torch import save_file

    stem = "diffusion_pytorch_model" if "sdxl" in folder.parts else "model"
    shards: list[dict[str, Any]] = [{}]
    places: dict[str, str] = {}

    def close() -> None:
        name = f"{stem}-{len(shards):05}.safetensors"
        save_file(shards[-1], folder / name, {"format": "pt"})
        places.update(dict.fromkeys(shards[-1], name))
        shards[-1].clear()

    for key, tensor in tensors:
        if sum(each.nbytes for each in shards[-1].values()) > _SHARD:
            close()
            shards.append({})
        shards[-1][key] = tensor
    close()
    index = {"metadata": {}, "weight_map": places}
    (folder / f"{stem}.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")


def _tensor(key: str, like: Any, tuned: bool) -> Any:
    import torch

    random = torch.Generator().manual_seed(zlib.crc32(key.encode()))
    if like.ndim < 2:
        return torch.ones(like.shape, dtype=torch.bfloat16)
    weight = _SIZE * torch.randn(like.shape, generator=random)
    if tuned:
        m, n = weight.flatten(1).shape
        sigma = torch.arange(1, min(_PARTS, m, n) + 1) ** -_DECAY
        sigma *= _SHARE * _SIZE / sigma.norm()
        up, down = (torch.randn(*shape, generator=random) for shape in ((m, len(sigma)), (len(sigma), n)))
        weight = weight.bfloat16().float() + ((up * sigma) @ down).view(weight.shape)
    return weight.bfloat16()


def extract(job: Json) -> Json:
    import lorafold
    from lorafold.adapters.checkpoints.checkpoint import open_checkpoint

    largest = max(stored.nbytes for stored in open_checkpoint(f"{job['data']}/base").tensors.values())

    def run() -> Json:
        result = lorafold.extract(f"{job['data']}/base", f"{job['data']}/tuned", rank=RANK, format="peft")
        result.save(job["adapter"])
        summary = result.metrics()["summary"]
        return {
            "error": summary["error"] ** 0.5,
            "excess": summary["excess"],
            "layers": summary["modules"],
            "largest": largest,
        }

    return _measured(run)


def fuse(job: Json) -> Json:
    import lorafold

    return _measured(
        lambda: {"tensors": len(lorafold.fuse(f"{job['data']}/base", [job["adapter"]]).write(job["out"]).tensors)}
    )


def copy(job: Json) -> Json:
    """All files, to the disk, as fuse does."""

    def run() -> Json:
        Path(job["out"]).mkdir()
        files = [shutil.copyfile(file, Path(job["out"]) / file.name) for file in Path(job["data"], "base").iterdir()]
        for file in files:
            with Path(file).open("r+b") as stream:
                os.fsync(stream.fileno())
        return {"bytes": sum(Path(file).stat().st_size for file in files)}

    return _measured(run)


def peft(job: Json) -> Json:
    """merge_and_unload of the whole model, with loading and saving."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    def run() -> Json:
        model = AutoModelForCausalLM.from_pretrained(f"{job['data']}/base", dtype=torch.bfloat16)
        PeftModel.from_pretrained(model, job["adapter"]).merge_and_unload().save_pretrained(job["out"])
        return {}

    return _measured(run)


def dense(job: Json) -> Json:
    """One layer of the shapes that hold most: seconds of its SVD, and how far extraction is above the optimum."""
    import torch

    import lorafold
    from lorafold.adapters.checkpoints.checkpoint import open_checkpoint

    torch.set_num_threads(1)  # two would wait for each other, and what they wait counts as theirs
    base, tuned = (open_checkpoint(f"{job['data']}/{name}").tensors for name in ("base", "tuned"))
    adapter = lorafold.load(job["adapter"])
    stored = {name: base[f"{name}.weight"] for name in adapter.modules}
    counts = Counter((entry.shape[0], entry.nbytes // 2 // entry.shape[0]) for entry in stored.values())
    timed = sorted(counts, key=lambda shape: counts[shape] * shape[0] * shape[1])[-_SHAPES:]
    shapes: dict[str, Json] = {}
    for name, module in adapter.modules.items():
        label = "x".join(map(str, module.shape))
        if label in shapes or module.shape not in timed:
            continue
        key = f"{name}.weight"
        matrix = (tuned[key].read().float() - base[key].read().float()).flatten(1)
        start, spent = perf_counter(), _cpu_seconds()
        sigma = torch.linalg.svd(matrix, full_matrices=False)[1].double()
        seconds, spent = perf_counter() - start, _cpu_seconds() - spent
        optimum = float(sigma[RANK:].norm())
        error = float((matrix.double() - module.scale * module.up.double() @ module.down.double()).norm())
        shapes[label] = {"count": counts[module.shape], "seconds": seconds, "cpu": spent, "excess": error / optimum - 1}
    total = {key: sum(shape["count"] * shape[key] for shape in shapes.values()) for key in ("seconds", "cpu")}
    counted = sum(shape["count"] for shape in shapes.values())
    return {**total, "layers": counted, "excess": max(each["excess"] for each in shapes.values()), "shapes": shapes}


def _measured(run: Callable[[], Json]) -> Json:
    """Seconds, processor seconds and the peak of memory; imports are over before."""
    import measured

    import lorafold

    lorafold.extract, lorafold.fuse  # noqa: B018
    start, spent = perf_counter(), _cpu_seconds()
    found = run()
    return {"seconds": perf_counter() - start, "cpu": _cpu_seconds() - spent, "peak_mib": measured._peak_mib(), **found}


def _cpu_seconds() -> float:
    used = getrusage(RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


STEPS = {"write": write, "extract": extract, "fuse": fuse, "copy": copy, "peft": peft, "dense": dense}


def measure(bench: Bench, name: str) -> Json:
    """One case, from its files on."""
    data = bench.data / name
    job = {"case": name, "data": str(data), "adapter": str(data / "adapter")}
    found: Json = {"title": TITLES[name], "rank": RANK}
    for step in STEPS:
        if step == "peft" and name != "llama":
            continue
        out = data / f"out-{step}"
        found[step] = bench.child("whole models", step=step, out=str(out), **job)
        shutil.rmtree(out, ignore_errors=True)
        told = {key: value for key, value in found[step].items() if isinstance(value, float | int)}
        print(name, step, told, f"load {os.getloadavg()[0]:.1f}", file=sys.stderr, flush=True)
    return found


def written(document: str) -> str:
    """The document with the table as it follows from the JSON."""
    before, mark, after = document.partition(_MARK)
    assert mark, f"{DOCUMENT} has no line {_MARK!r}"
    return before + mark + table(json.loads(DATA.read_text(encoding="utf-8"))) + after[after.index(_END) :]


def table(result: Json) -> str:
    """What was missed, then all that was measured."""
    rows = [row for case in result["cases"].values() for row in _rows(case)]
    missed = [
        f"{title}{': ' if title else 'its '}{beside}, wanted {wanted}"
        for title, *_, beside, wanted, met in rows
        if met is False
    ]
    lines = [("what", "seconds", "processor seconds", "peak MiB", "beside", "wanted"), ("---",) * 6]
    lines += [row[:-1] for row in rows]
    load = " to ".join(f"{value:.1f}" for value in sorted(result["load_average"])[:: len(result["load_average"]) - 1])
    environment = result["environment"]
    where = f"{environment['cpu']}, {environment['threads']} threads, torch {environment['torch']}"
    said = f"{'Missed: ' + '; '.join(missed) if missed else 'Nothing was missed'}. Measured on {where}, load average"
    said += f" {load} (2 of it are these). SVDs are compared by processor seconds."
    note = result.get("note", "")  # where not all was one run
    return f"{said} {note}".rstrip() + "\n\n" + "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def _rows(case: Json) -> Iterator[tuple[Any, ...]]:
    title, extracted, fused = case["title"], case["extract"], case["fuse"]
    limit = (600e6 + 2 * extracted["largest"]) / 2**20
    faster, speed = case["dense"]["cpu"] / extracted["cpu"], case["copy"]["seconds"] / fused["seconds"]
    excess = 100 * case["dense"]["excess"]
    yield _row(f"{title}: extract, rank {case['rank']}", extracted, f"dense SVDs take {faster:.0f} times as long",
               "20 times", faster >= 20)  # fmt: skip
    yield "", "", "", "", f"error {excess:.2f} % above the optimum at most, in those compared", "1 %", excess <= 1
    yield _peak(extracted, limit)
    counted = f"{case['dense']['layers']} of {extracted['layers']} layers"
    yield _row(f"dense SVDs of {counted}, one thread", case["dense"], "", "", None)
    yield _row(f"{title}: fuse", fused, f"{speed:.2f} of the speed of copying", "0.5", speed >= 0.5)
    yield _peak(fused, limit)
    yield _row("copying the files", case["copy"], "", "", None)
    if "peft" in case:
        yield _row("PEFT: load, merge_and_unload, save", case["peft"], "", "", None)


def _peak(found: Json, limit: float) -> tuple[Any, ...]:
    return "", "", "", "", f"peak {found['peak_mib']:.0f} MiB", f"{limit:.0f} MiB", found["peak_mib"] <= limit


def _row(title: str, found: Json, beside: str, wanted: str, met: bool | None) -> tuple[Any, ...]:
    peak = f"{found['peak_mib']:.0f}" if "peak_mib" in found else ""
    return title, f"{found['seconds']:.1f}", f"{found['cpu']:.1f}", peak, beside, wanted, met


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", default=",".join(TITLES))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--table", action="store_true")
    given = parser.parse_args()
    if not given.table:
        with TemporaryDirectory(prefix="lorafold-whole-") as scratch:
            _measure_all(Bench(Path(scratch), "cpu", given.threads, 1), given.cases.split(","))
    DOCUMENT.write_text(written(DOCUMENT.read_text(encoding="utf-8")), encoding="utf-8", newline="\n")


def _measure_all(bench: Bench, names: Sequence[str]) -> None:
    result: Json = {"environment": bench.child("environment"), "load_average": [os.getloadavg()[0]], "cases": {}}
    for name in names:
        result["cases"][name] = measure(bench, name)
        result["load_average"].append(os.getloadavg()[0])
        DATA.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
        shutil.rmtree(bench.data / name)


if __name__ == "__main__":
    main()
