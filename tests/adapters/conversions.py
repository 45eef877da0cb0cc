"""Random adapters of known architectures, and their updates by canonical names, for tests of conversions."""

from __future__ import annotations

from dataclasses import replace

import torch
from hypothesis import strategies as st
from torch import Tensor

from lorafold.adapters import Adapter, Module
from lorafold.adapters.naming import ARCHITECTURES, name_of, namings, places
from tests.adapters.samples import normal, update

# Layers that no other architecture has, together, so that a few random layers are not ambiguous.
ANCHORS = {
    "sd": ("input_blocks.1.1.proj_in",),
    "sdxl": ("label_emb.0.0",),
    "flux": ("vector_in.in_layer", "img_in"),
    "sd3": ("x_embedder.proj", "y_embedder.mlp.0"),
    "wan": ("blocks.0.self_attn.q",),
    "flux2": ("single_stream_modulation.lin",),
    "chroma": ("distilled_guidance_layer.in_proj",),
    "qwen": ("transformer_blocks.0.img_mod.1",),
    "zimage": ("layers.0.attention.out",),
    "lumina2": ("layers.0.attention.qkv",),
    "auraflow": ("single_layers.0.attn.w1q", "cond_seq_linear", "double_layers.0.modX.1"),
    "ltx": ("patchify_proj",),
    "hunyuan": ("txt_in.input_embedder",),
    "hidream": ("double_stream_blocks.0.block.attn1.to_q_t",),
}
POWERS = (1.0, 0.5, -2.0, 0.25, 0.0, 4.0)


def usual_style(architecture: str, form: str) -> str:
    known = ARCHITECTURES[architecture]()
    return {"kohya": known.kohya, "comfyui": known.comfyui}.get(form, form)


@st.composite
def adapters(draw: st.DrawFn, architecture: str, form: str, *, one_model: bool = False) -> Adapter:
    """A few layers in the usual names of the format, of random ranks, alphas, heights and kinds.

    Parts of fused layers have powers of two for scales, which fusing folds into a factor without rounding.
    """
    table = places(architecture, usual_style(architecture, form))
    anchors = [name for name, place in table.items() if place.entry.original in ANCHORS[architecture]]
    model = table[anchors[0]].component
    # Wan's second transformer has no names but diffusers'.
    models = {model} if one_model else {place.component for place in table.values()} - {"transformer_2"}
    names = [name for name, place in table.items() if place.component in models]
    anchors = [name for name in anchors if table[name].component == model]
    chosen = draw(st.lists(st.sampled_from(names), max_size=6))
    fused = [name for name in names if len(table[name].entry.diffusers) > 1]
    chosen += draw(st.lists(st.sampled_from(fused[:9]), max_size=5)) if fused else []
    dtype = draw(st.sampled_from([torch.float32, torch.float16, torch.bfloat16]))
    unit, n = draw(st.integers(1, 3)), draw(st.integers(1, 4))
    modules = {}
    for seed, name in enumerate(dict.fromkeys([*anchors, *chosen])):
        entry, part = table[name].entry, table[name].part
        m = unit * (sum(entry.shares) if part is None else entry.shares[part])
        plain = len(entry.diffusers) == 1 and not entry.halves_swapped
        fixed = proportioned(architecture, entry.original, unit)
        kernel = draw(st.sampled_from([(), (1, 1), (3, 3)])) if plain and not fixed else ()
        r = draw(st.integers(1, 3))
        alphas = st.sampled_from((1, -1)).flatmap(lambda sign: st.floats(0.015625, 8, width=32).map(lambda a: sign * a))
        scale = draw(st.sampled_from(POWERS)) if len(entry.diffusers) > 1 else draw(alphas) / r
        inputs = fixed[1] if fixed else n
        m = 2 * n if entry.halves_swapped else fixed[0] if fixed and (part is None or plain) else m
        up = normal(m, r, dtype=dtype, seed=2 * seed)
        down = normal(r, inputs * (kernel[0] ** 2 if kernel else 1), dtype=dtype, seed=2 * seed + 1)
        modules[name] = Module(name, up, down, scale, kernel, kind="conv" if kernel else "linear")
    return Adapter(form, modules, metadata={"who": "é", "sshs_model_hash": "stale"})


def proportioned(architecture: str, original: str, unit: int) -> tuple[int, int] | None:
    """The shape of a layer, if the architecture has a rule for it."""
    ratios = ARCHITECTURES[architecture]().proportions.items()
    return next(((a * unit, b * unit) for end, (a, b) in ratios if original.endswith(end)), None)


def canonical(adapter: Adapter, architecture: str) -> dict[str, Tensor]:
    """Dense updates (m, n) by diffusers' names, fused layers cut into their rows; those that are not zero."""
    style = next(naming.style for naming in namings(adapter.modules) if naming.architecture == architecture)
    found = {}
    for name, module in adapter.modules.items():
        place, delta = places(architecture, style)[name], update(module)
        rows = [delta] if place.part is not None else _rows(delta, place.entry)
        for part, row in enumerate(rows, start=place.part or 0):
            canonical_name = name_of(architecture, "diffusers", replace(place, part=part))
            assert canonical_name is not None
            found[canonical_name] = row
    return {name: delta for name, delta in found.items() if delta.any()}


def _rows(delta: Tensor, entry) -> list[Tensor]:
    m, n = delta.shape
    if entry.halves_swapped and m == 2 * n:
        delta = torch.cat([delta[n:], delta[:n]])
    return list(delta.split([m // sum(entry.shares) * share for share in entry.shares]))


def check_equal(one: dict[str, Tensor], other: dict[str, Tensor], rtol: float = 1e-13) -> None:
    assert one.keys() == other.keys()
    for name, delta in one.items():
        assert (delta - other[name]).norm() <= rtol * delta.norm(), name
