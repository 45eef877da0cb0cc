"""The node, in the form that ComfyUI asks of one."""

from __future__ import annotations

import logging
from typing import Any

from lorafold.integrations.comfyui import host
from lorafold.integrations.comfyui.choice import NONE, SLOTS, choice_of, methods

_REQUIRED = 2  # slots that must be filled
_WEIGHT = {"default": 1.0, "min": -10.0, "max": 10.0, "step": 0.01}
_STRENGTH = {"default": 1.0, "min": -100.0, "max": 100.0, "step": 0.01}
_METHOD = (
    "chosen strength: lorafold's default; the weights say who counts more. "
    "sum: as with a loader after the other; with rank 0 exactly so. The others are published methods."
)
_RANK = "Of the merged LoRA: a higher one keeps more and makes a larger file. 0 loses nothing."
_SAVE = "A name, to keep the merged LoRA in the loras folder too. Empty: it is applied only."


class MergeLoras:
    """Up to four LoRAs become one, which is applied, and saved if it has a name."""

    CATEGORY = "loaders"
    DESCRIPTION = "Merges LoRAs into one of a chosen rank, and applies it to the model and its CLIP."
    FUNCTION = "apply"
    RETURN_TYPES = ("MODEL", "CLIP", "STRING")
    RETURN_NAMES = ("model", "clip", "report")
    OUTPUT_TOOLTIPS = ("With the merged LoRA.", "With the merged LoRA.", "What the merge keeps of each LoRA.")

    _last: tuple[str, Any] | None = None

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, dict[str, Any]]:
        names = host.lora_names()
        slots: dict[str, Any] = {}
        for slot in SLOTS:
            slots[f"lora_{slot}"] = (names if slot <= _REQUIRED else [NONE, *names],)
            slots[f"weight_{slot}"] = ("FLOAT", {**_WEIGHT, "tooltip": "As the strength of a loader; 0: without it."})
        required = {key: slots.pop(key) for key in list(slots)[: 2 * _REQUIRED]}
        return {
            "required": {
                "model": ("MODEL",),
                **required,
                "method": (methods(), {"tooltip": _METHOD}),
                "rank": ("INT", {"default": 32, "min": 0, "max": 1024, "tooltip": _RANK}),
                "strength_model": ("FLOAT", _STRENGTH),
                "strength_clip": ("FLOAT", _STRENGTH),
                "save_as": ("STRING", {"default": "", "tooltip": _SAVE}),
            },
            "optional": {"clip": ("CLIP",), **slots},
        }

    @classmethod
    def IS_CHANGED(cls, **inputs: Any) -> str:
        """What ComfyUI compares beside the inputs: a file may hold something else under the same name."""
        from lorafold.integrations.comfyui.merged import identity

        return identity(choice_of(inputs))

    def apply(
        self,
        model: Any,
        strength_model: float,
        strength_clip: float,
        save_as: str = "",
        clip: Any = None,
        **inputs: Any,
    ) -> tuple[Any, Any, str]:
        """Model and CLIP with the merged LoRA, and what it keeps.

        Raises:
            LorafoldError: what cannot be merged or saved; ComfyUI shows the message.
        """
        choice = choice_of(inputs)
        if not choice.paths:
            return model, clip, "no LoRA has a weight"
        from lorafold.integrations.comfyui.kept import save_once, target_of

        target = target_of(host.lora_folder(), save_as) if save_as.strip() else None
        one = self._merged(choice)
        report = one.report
        if target is not None:
            save_once(one.adapter, target, choice.paths)
            report += f"; saved as {target.name}"
        logging.getLogger(__name__).info(report)
        return (*host.with_lora(model, clip, one.tensors, strength_model, strength_clip), report)

    def _merged(self, choice: Any) -> Any:
        """The last merge again, if only the strength of the result or its name have changed."""
        from lorafold.integrations.comfyui.merged import identity, merged

        key = identity(choice)
        if self._last is None or self._last[0] != key:
            self._last = None  # before the new one needs the memory
            self._last = key, merged(choice, host.progress)
        return self._last[1]
