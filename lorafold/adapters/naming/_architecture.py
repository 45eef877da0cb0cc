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
        name: in settings and code.
        titles: the base models, as people and metadata call them.
        components: its models.
        kohya: the style of names that sd-scripts and musubi-tuner write.
        comfyui: the style that ComfyUI reads.
        widths: ends of layers' paths in diffusers, and how many inputs they have in the published models; what tells
            apart architectures that share names.
        proportions: ends of layers' paths in the original code, and outputs to inputs there, whatever the width.
    """

    name: str
    titles: tuple[str, ...]
    components: tuple[Component, ...]
    kohya: str = "kohya"
    comfyui: str = "comfyui"
    widths: Mapping[str, frozenset[int]] = field(default_factory=dict)
    proportions: Mapping[str, tuple[int, int]] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """All base models, in words."""
        return " or ".join(self.titles)


def same(paths: Iterable[str]) -> tuple[Entry, ...]:
    """Layers of equal name in both codes."""
    return tuple(Entry(path, (path,)) for path in paths)


def renamed(pairs: Mapping[str, str], *, original: str = "", diffusers: str = "") -> tuple[Entry, ...]:
    """Layers from original name to diffusers' name, each behind its prefix."""
    return tuple(Entry(original + theirs, (diffusers + ours,)) for theirs, ours in pairs.items())


def split_in(original: str, diffusers: str, parts: Iterable[str], shares: Iterable[int] | None = None) -> Entry:
    """A fused layer, its parts behind a common prefix; of equal heights unless `shares` says otherwise."""
    paths = tuple(diffusers + part for part in parts)
    return Entry(original, paths, tuple(shares or (1,) * len(paths)))


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
