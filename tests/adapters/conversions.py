"""Random adapters of known architectures, and their updates by canonical names, for tests of conversions."""

from __future__ import annotations

from dataclasses import replace

import torch
from hypothesis import strategies as st
from torch import Tensor

from lorafold.adapters import Adapter, Module
from lorafold.adapters.naming import ARCHITECTURES, name_of, namings, places
from tests.adapters.samples import normal, update

# A layer of each architecture that no other one has, so that a few random layers are not ambiguous.
ANCHORS = {
    "sd": "input_blocks.1.1.proj_in",
    "sdxl": "label_emb.0.0",
    "flux": "single_blocks.0.linear2",
    "sd3": "x_embedder.proj",
    "wan": "blocks.0.self_attn.q",
}
POWERS = (1.0, 0.5, -2.0, 0.25, 0.0, 4.0)


def usual_style(architecture: str, form: str) -> str:
    return ARCHITECTURES[architecture]().kohya if form == "kohya" else form


@st.composite
def adapters(draw: st.DrawFn, architecture: str, form: str, *, one_model: bool = False) -> Adapter:
    """A few layers in the usual names of the format, of random ranks, alphas, heights and kinds.

    Parts of fused layers have powers of two for scales, which fusing folds into a factor without rounding.
    """
    table = places(architecture, usual_style(architecture, form))
    anchor = next(name for name, place in table.items() if place.entry.original == ANCHORS[architecture])
    names = [name for name, place in table.items() if not one_model or place.component == table[anchor].component]
    chosen = draw(st.lists(st.sampled_from(names), max_size=6))
    fused = [name for name in names if len(table[name].entry.diffusers) > 1]
    chosen += draw(st.lists(st.sampled_from(fused[:9]), max_size=5)) if fused else []
    dtype = draw(st.sampled_from([torch.float32, torch.float16, torch.bfloat16]))
    unit, n = draw(st.integers(1, 3)), draw(st.integers(1, 4))
    modules = {}
    for seed, name in enumerate(dict.fromkeys([anchor, *chosen])):
        entry, part = table[name].entry, table[name].part
        m = unit * (sum(entry.shares) if part is None else entry.shares[part])
        plain = len(entry.diffusers) == 1 and not entry.halves_swapped
        kernel = draw(st.sampled_from([(), (1, 1), (3, 3)])) if plain else ()
        r = draw(st.integers(1, 3))
        alphas = st.sampled_from((1, -1)).flatmap(lambda sign: st.floats(0.015625, 8, width=32).map(lambda a: sign * a))
        scale = draw(st.sampled_from(POWERS)) if len(entry.diffusers) > 1 else draw(alphas) / r
        up = normal(2 * n if entry.halves_swapped else m, r, dtype=dtype, seed=2 * seed)
        down = normal(r, n * (kernel[0] ** 2 if kernel else 1), dtype=dtype, seed=2 * seed + 1)
        modules[name] = Module(name, up, down, scale, kernel, kind="conv" if kernel else "linear")
    return Adapter(form, modules, metadata={"who": "é", "sshs_model_hash": "stale"})


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
