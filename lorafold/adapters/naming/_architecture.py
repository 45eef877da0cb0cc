"""What the names of a model's layers are, in diffusers and in the code that it was published with.

A canonical name is diffusers' path of a layer with the pipeline's component in front: "unet.down_blocks.0. ...".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Entry:
    """One layer of the original code and the layers of diffusers that hold its weights.

    Args:
        original: its path.
        diffusers: their paths; the rows of the original weight are theirs, one after the other.
        shares: how the rows divide among them, in proportion.
        halves_swapped: whether a weight of twice as many rows as columns has its two halves of rows exchanged (the last
            layer's adaptive norm: shift and scale there, scale and shift here).
    """

    original: str
    diffusers: tuple[str, ...]
    shares: tuple[int, ...] = (1,)
    halves_swapped: bool = False


@dataclass(frozen=True)
class Component:
    """One model of a pipeline.

    Args:
        name: in diffusers' pipeline.
        entries: its layers.
        prefixes: what stands before a layer's path, by the first word of `Style`.
    """

    name: str
    entries: tuple[Entry, ...]
    prefixes: Mapping[str, str]


@dataclass(frozen=True)
class Architecture:
    """A family of pipelines whose layers have the same names.

    Args:
        name: as users know it.
        components: its models.
        kohya: the style of names that sd-scripts and musubi-tuner write.
        hint: the end of a layer's path, and how many inputs it can have: tells apart architectures that share names.
    """

    name: str
    components: tuple[Component, ...]
    kohya: str
    hint: tuple[str, frozenset[int]] = field(default=("", frozenset()))


def same(paths: Iterable[str]) -> tuple[Entry, ...]:
    """Layers of equal name in both codes."""
    return tuple(Entry(path, (path,)) for path in paths)


def renamed(pairs: Mapping[str, str], *, original: str = "", diffusers: str = "") -> tuple[Entry, ...]:
    """Layers from original name to diffusers' name, each behind its prefix."""
    return tuple(Entry(original + theirs, (diffusers + ours,)) for theirs, ours in pairs.items())


def denoiser(name: str, entries: tuple[Entry, ...]) -> Component:
    """The U-Net or transformer, with every prefix that the tools give it."""
    prefixes = {
        "diffusers": f"{name}.",
        "kohya": "lora_unet_",
        "onetrainer": f"lora_{name}_",
        "lycoris": "lycoris_",
        "comfyui": "diffusion_model.",
        "peft": "",
    }
    return Component(name, entries, prefixes)
