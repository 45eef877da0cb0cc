"""The layers of a whole model by the names that adapters give them, wherever and however the model keeps them.

m = out, n = in * prod(kernel).

A single file holds a pipeline's models behind prefixes of its own, in the names of the original code, which fuses what
diffusers keeps apart; OpenCLIP's text encoders have further names, and a fused projection. The weight of a layer is
therefore rows of one or more tensors.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import accumulate

import torch
from torch import Tensor

from lorafold.adapters.checkpoints.checkpoint import Checkpoint, Stored
from lorafold.adapters.naming import (
    ARCHITECTURES,
    STYLES,
    Entry,
    Naming,
    Place,
    has_proportions,
    has_whole_depth,
    has_width,
    nearest,
    places,
)

LEAVES = ("weight", "bias")
_CLIP_L, _CLIP_G = "text_encoders.clip_l.transformer.", "text_encoders.clip_g.transformer."
# What stands in front in single files -> in front of the same names in adapters of ComfyUI.
_FRONTS = {
    "model.diffusion_model.": "diffusion_model.",
    "cond_stage_model.transformer.": _CLIP_L,
    "conditioner.embedders.0.transformer.": _CLIP_L,
}
_OPEN_CLIP = {"cond_stage_model.model.": _CLIP_L, "conditioner.embedders.1.model.": _CLIP_G}
_BLOCK = re.compile(r"transformer\.resblocks\.(\d+)\.(.+)")
_BLOCK_LAYERS = {"attn.out_proj": "self_attn.out_proj", "mlp.c_fc": "mlp.fc1", "mlp.c_proj": "mlp.fc2"}
# transformers 5 saves a CLIP without projection so.
_BARE_CLIP = re.compile(r"^(text_encoder(?:_2)?\.)(encoder\.layers|embeddings|final_layer_norm)\.")
_EMBEDDING = re.compile(
    r"(?:^|\.)(?:\w*embed_tokens|wte|wpe|shared|\w*word_embeddings|\w*position_embeddings?|token_type_embeddings"
    r"|token_embedding|tok_embeddings|relative_attention_bias)$"
)
_HEAD = re.compile(r"(?:^|\.)(?:lm_head|embed_out|output_projection)$")
# GPT-2's layers keep their weights transposed; a layer of this name is three times as wide there as high.
_CONV1D = re.compile(r"(.*\bh\.\d+\.)(?:attn\.c_attn|attn\.c_proj|attn\.q_attn|mlp\.c_fc|mlp\.c_proj)$")


@dataclass(frozen=True)
class Rows:
    """Entries `first` to `last`, along its first axis, of the tensor of this name in the checkpoint."""

    tensor: str
    first: int
    last: int


@dataclass(frozen=True)
class Weight:
    """Where the weight of a layer lies, or its bias.

    Args:
        rows: one below the other, they are the weight (m, n); the bias (m, 1).
        shape: (m, n).
        kernel: of a convolution.
        transposed: whether what is stored, a single tensor, is (n, m).
        kind: linear, conv, embedding, or vector: a bias or norm.
    """

    rows: tuple[Rows, ...]
    shape: tuple[int, int]
    kernel: tuple[int, ...] = ()
    transposed: bool = False
    kind: str = "linear"

    def within(self, first: int, last: int) -> Weight:
        """Its rows from `first` up to `last`; they lie in a single tensor."""
        (rows,) = self.rows
        return replace(
            self,
            rows=(Rows(rows.tensor, rows.first + first, rows.first + last),),
            shape=(last - first, self.shape[1]),
        )

    def swapped(self) -> Weight:
        """With the two halves of its rows exchanged."""
        half = self.shape[0] // 2
        halves = self.within(half, 2 * half), self.within(0, half)
        return replace(self, rows=tuple(rows for half in halves for rows in half.rows))

    def offsets(self) -> Iterator[tuple[int, Rows]]:
        """Its rows, each with the number of the first among those of the weight."""
        heights = (rows.last - rows.first for rows in self.rows)
        return zip(accumulate(heights, initial=0), self.rows, strict=False)


@dataclass(frozen=True, eq=False)
class Layout:
    """The layers of a checkpoint.

    Args:
        checkpoint: of which they are.
        naming: architecture and style of the names; None: a model whose layers no other tool names otherwise.
        layers: by name, and by leaf ("weight", "bias").
        others: names of the tensors that belong to no layer.
    """

    checkpoint: Checkpoint
    naming: Naming | None
    layers: Mapping[str, Mapping[str, Weight]]
    others: tuple[str, ...]

    @cached_property
    def entries(self) -> Mapping[tuple[str, str], Mapping[int | None, str]]:
        """By component and path in the original code, the names of the layers that hold the rows of one there."""
        entries: dict[tuple[str, str], dict[int | None, str]] = defaultdict(dict)
        for name in self.layers:
            if place := self.place(name):
                entries[place.component, place.entry.original][place.part] = name
        return entries

    def known(self) -> Iterator[tuple[str, Entry]]:
        """Component and entry of every layer that the architecture's dictionary has."""
        yield from ((place.component, place.entry) for place in map(self.place, self.layers) if place)

    def place(self, name: str) -> Place | None:
        """Where the name of a layer points."""
        return None if self.naming is None else places(self.naming.architecture, self.naming.style).get(name)

    def at(self, place: Place, leaf: str = "weight") -> Weight | None:
        """A layer of the original code or of diffusers, whichever of the two the checkpoint keeps."""
        names = self.entries.get((place.component, place.entry.original), {})
        stored = {part: self.layers[name] for part, name in names.items()}
        if any(leaf not in weights for weights in stored.values()) or not stored:
            return None
        if place.part in stored:
            return stored[place.part][leaf]
        if len(place.entry.diffusers) == 1:
            (weights,) = stored.values()
            m, n = weights["weight"].shape
            return weights[leaf].swapped() if place.entry.halves_swapped and m == 2 * n else weights[leaf]
        if place.part is None:
            return _stacked([stored[part][leaf] for part in range(len(stored)) if part in stored], place.entry)
        return _part(stored[None][leaf], place.entry, place.part)

    def respelled(self, name: str, style: str) -> tuple[str | None, str]:
        """The name in another style of a layer that no dictionary has, if both are of one code; and its component."""
        if self.naming is None:
            return name, ""
        here, there = STYLES[self.naming.style], STYLES[style]
        for component in ARCHITECTURES[self.naming.architecture]().components:
            front = component.prefixes.get(here.prefix)
            if front is not None and name.startswith(front):
                same_code = here.original == there.original or component.name.startswith("text_encoder")
                path = name.removeprefix(front) if there.dotted else name.removeprefix(front).replace(".", "_")
                known = same_code and there.prefix in component.prefixes
                return component.prefixes[there.prefix] + path if known else None, component.name
        return None, ""

    def read(self, weight: Weight) -> Tensor:
        """The weight (m, n), in memory of its own."""
        tensors = self.checkpoint.tensors
        parts = [tensors[rows.tensor].read(rows.first, rows.last).flatten() for rows in weight.rows]
        flat = parts[0] if len(parts) == 1 else torch.cat(parts)
        m, n = weight.shape
        return flat.view(n, m).mT if weight.transposed else flat.view(m, n)


def _stacked(parts: Sequence[Weight], entry: Entry) -> Weight | None:
    """The parts as one weight, if all of them are there."""
    if len(parts) < len(entry.diffusers):
        return None
    rows = tuple(rows for part in parts for rows in part.rows)
    return replace(parts[0], rows=rows, shape=(sum(part.shape[0] for part in parts), parts[0].shape[1]))


def _part(whole: Weight, entry: Entry, part: int) -> Weight | None:
    """The rows of one part, if they divide in the proportions of the layer."""
    unit, rest = divmod(whole.shape[0], sum(entry.shares))
    edges = [unit * edge for edge in accumulate(entry.shares, initial=0)]
    return None if rest else whole.within(edges[part], edges[part + 1])


def layout_of(checkpoint: Checkpoint) -> Layout:
    """The layers of a checkpoint, under the names of the architecture that it is recognised as."""
    layers: dict[str, dict[str, Weight]] = defaultdict(dict)
    others = []
    for name, stored in checkpoint.tensors.items():
        weights = list(_weights(name, stored))
        for layer, leaf, weight in weights:
            layers[layer][leaf] = weight
        others += [] if weights else [name]
    naming = _naming({name: weights["weight"].shape for name, weights in layers.items() if _is_matrix(weights)})
    turned = {name: _turned(name, weights, layers) for name, weights in layers.items()}
    return Layout(checkpoint, naming, layers if naming else turned, tuple(others))


def is_embedding(name: str) -> bool:
    """Whether a layer of this name looks tokens or positions up."""
    return _EMBEDDING.search(name) is not None


def is_head(name: str) -> bool:
    """Whether it is what makes tokens of hidden states."""
    return _HEAD.search(name) is not None


def _is_matrix(weights: Mapping[str, Weight]) -> bool:
    return "weight" in weights and weights["weight"].kind in ("linear", "conv")


def _weights(name: str, stored: Stored) -> Iterator[tuple[str, str, Weight]]:
    """The layers, by name and leaf, whose weight or bias a stored tensor holds."""
    for front, ours in _OPEN_CLIP.items():
        if name.startswith(front):
            yield from _of_open_clip(name, name.removeprefix(front), ours, stored)
            return
    layer, _, leaf = name.rpartition(".")
    if leaf in LEAVES and stored.shape:
        front = next((front for front in _FRONTS if layer.startswith(front)), "")
        named = _BARE_CLIP.sub(r"\1text_model.\2.", _FRONTS.get(front, "") + layer.removeprefix(front))
        yield named, leaf, _whole(name, stored, layer)


def _of_open_clip(name: str, path: str, front: str, stored: Stored) -> Iterator[tuple[str, str, Weight]]:
    """OpenCLIP's text encoder, under the names of transformers."""
    if path == "text_projection":
        yield f"{front}{path}", "weight", _transposed(_whole(name, stored))
    if not (match := _BLOCK.fullmatch(path)):
        return
    block = f"{front}text_model.encoder.layers.{match[1]}."
    layer, _, leaf = match[2].rpartition(".")
    if layer in _BLOCK_LAYERS:
        yield block + _BLOCK_LAYERS[layer], leaf, _whole(name, stored)
    elif match[2].startswith("attn.in_proj_"):
        whole, third = _whole(name, stored), stored.shape[0] // 3
        for i, part in enumerate("qkv"):
            leaf = match[2].removeprefix("attn.in_proj_")
            yield f"{block}self_attn.{part}_proj", leaf, whole.within(i * third, (i + 1) * third)


def _whole(name: str, stored: Stored, layer: str = "") -> Weight:
    m, *rest = stored.shape
    shape, rows = (m, math.prod(rest)), (Rows(name, 0, m),)
    if not rest:
        return Weight(rows, shape, kind="vector")
    if len(rest) == 1 and is_embedding(layer):
        return _transposed(Weight(rows, shape, kind="embedding"))
    return Weight(rows, shape, tuple(rest[1:]), kind="conv" if rest[1:] else "linear")


def _turned(name: str, weights: Mapping[str, Weight], layers: Mapping[str, Mapping[str, Weight]]) -> dict[str, Weight]:
    """The weights of a layer, that of GPT-2's kind of layer transposed."""
    if not (match := _CONV1D.match(name)) or not _is_matrix(weights):
        return dict(weights)
    fused = layers.get(f"{match[1]}attn.c_attn", {}).get("weight")
    if fused is None or fused.shape[1] != 3 * fused.shape[0]:
        return dict(weights)
    return {**weights, "weight": _transposed(weights["weight"])}


def _transposed(weight: Weight) -> Weight:
    m, n = weight.shape
    return replace(weight, transposed=True, shape=(n, m))


def _naming(shapes: Mapping[str, tuple[int, int]]) -> Naming | None:
    """The architecture of a pipeline, and how its layers are called; None of other models."""
    best, _ = nearest(list(shapes))
    for fits in (_has_denoiser, has_proportions, has_width, has_whole_depth):
        kept = [naming for naming in best if fits(naming, _known(naming, shapes))]
        best = kept if kept or fits in (_has_denoiser, has_proportions) else best
    return best[0] if best else None


def _known(naming: Naming, shapes: Mapping[str, tuple[int, int]]) -> dict[str, tuple[int, int]]:
    table = places(naming.architecture, naming.style)
    return {name: shape for name, shape in shapes.items() if name in table}


def _has_denoiser(naming: Naming, shapes: Mapping[str, tuple[int, int]]) -> bool:
    """Whether some of the layers are those of its U-Net or transformer: text encoders are models of their own too."""
    component = ARCHITECTURES[naming.architecture]().components[0].name
    table = places(naming.architecture, naming.style)
    return any(table[name].component == component for name in shapes)
