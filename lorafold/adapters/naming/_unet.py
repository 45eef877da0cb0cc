"""The U-Nets of Stable Diffusion 1 and 2 and of SDXL.

Both codes number the same layers: diffusers by block and kind, the original (ldm, sgm) in one row of input blocks and
one of output blocks. kohya's trainers take diffusers' names for SD 1 and 2, and the original ones for SDXL.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from lorafold.adapters.naming._architecture import Entry, renamed

_RESNET = {
    "in_layers.2": "conv1",
    "emb_layers.1": "time_emb_proj",
    "out_layers.3": "conv2",
    "skip_connection": "conv_shortcut",
}
_ATTENTION = [f"{attn}.{layer}" for attn in ("attn1", "attn2") for layer in ("to_q", "to_k", "to_v", "to_out.0")]
_TRANSFORMER_BLOCK = [*_ATTENTION, "ff.net.0.proj", "ff.net.2"]


@dataclass(frozen=True)
class UNet:
    """The structure of one of these U-Nets.

    Args:
        down: transformer blocks per attention of each down block, 0 for a block without attention.
        middle: the same of the middle block.
        added: whether there is an embedding of sizes and pooled text.
        layers: resnets per down block; an up block has one more.
    """

    down: tuple[int, ...]
    middle: int
    added: bool = False
    layers: int = 2


SD = UNet(down=(1, 1, 1, 0), middle=1)
SDXL = UNet(down=(0, 2, 10), middle=10, added=True)


def unet_entries(unet: UNet) -> tuple[Entry, ...]:
    """Every linear and convolutional layer."""
    return tuple((*_ends(unet), *_down(unet), *_middle(unet), *_up(unet)))


def _ends(unet: UNet) -> Iterator[Entry]:
    yield from renamed({"input_blocks.0.0": "conv_in", "out.2": "conv_out"})
    yield from renamed({"0": "1", "2": "2"}, original="time_embed.", diffusers="time_embedding.linear_")
    if unet.added:
        yield from renamed({"0": "1", "2": "2"}, original="label_emb.0.", diffusers="add_embedding.linear_")


def _down(unet: UNet) -> Iterator[Entry]:
    """Input block i (1, 2, ...): the resnets of a block with their attentions, then its downsampler."""
    for block, depth in enumerate(unet.down):
        first = 1 + block * (unet.layers + 1)
        for layer in range(unet.layers):
            yield from _pair(f"input_blocks.{first + layer}.", f"down_blocks.{block}.", layer, depth)
        if block + 1 < len(unet.down):
            yield from renamed({f"input_blocks.{first + unet.layers}.0.op": f"down_blocks.{block}.downsamplers.0.conv"})


def _middle(unet: UNet) -> Iterator[Entry]:
    yield from _resnet("middle_block.0.", "mid_block.resnets.0.")
    yield from _attention("middle_block.1.", "mid_block.attentions.0.", unet.middle)
    yield from _resnet("middle_block.2.", "mid_block.resnets.1.")


def _up(unet: UNet) -> Iterator[Entry]:
    """Output block i (0, 1, ...): the resnets of a block with their attentions, the last with its upsampler."""
    for block, depth in enumerate(reversed(unet.down)):
        first = block * (unet.layers + 1)
        for layer in range(unet.layers + 1):
            yield from _pair(f"output_blocks.{first + layer}.", f"up_blocks.{block}.", layer, depth)
        if block + 1 < len(unet.down):
            position = f"output_blocks.{first + unet.layers}.{2 if depth else 1}.conv"
            yield from renamed({position: f"up_blocks.{block}.upsamplers.0.conv"})


def _pair(original: str, diffusers: str, layer: int, depth: int) -> Iterator[Entry]:
    """One resnet and the attention behind it, if the block has any."""
    yield from _resnet(f"{original}0.", f"{diffusers}resnets.{layer}.")
    if depth:
        yield from _attention(f"{original}1.", f"{diffusers}attentions.{layer}.", depth)


def _resnet(original: str, diffusers: str) -> tuple[Entry, ...]:
    return renamed(_RESNET, original=original, diffusers=diffusers)


def _attention(original: str, diffusers: str, depth: int) -> tuple[Entry, ...]:
    inner = [f"transformer_blocks.{block}.{layer}" for block in range(depth) for layer in _TRANSFORMER_BLOCK]
    paths = ["proj_in", *inner, "proj_out"]
    return renamed({path: path for path in paths}, original=original, diffusers=diffusers)
