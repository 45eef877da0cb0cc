"""The few functions of ComfyUI that the node uses: its lists of files, its loader of LoRAs, its progress bar."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from lorafold.common.progress import Progress


def lora_names() -> list[str]:
    """What its menus of LoRAs show."""
    import folder_paths

    return list(folder_paths.get_filename_list("loras"))


def lora_path(name: str) -> Path:
    """The file behind an entry of such a menu; ComfyUI raises if there is none."""
    import folder_paths

    return Path(folder_paths.get_full_path_or_raise("loras", name))


def lora_folder() -> Path:
    """The first of its folders of LoRAs, `models/loras` unless configured otherwise."""
    import folder_paths

    return Path(folder_paths.get_folder_paths("loras")[0])


def with_lora(model: Any, clip: Any, tensors: Mapping[str, Tensor], model_strength: float, clip_strength: float) -> Any:
    """Model and CLIP with a LoRA, as its own loader applies one; either may be None."""
    import comfy.sd

    return comfy.sd.load_lora_for_models(model, clip, dict(tensors), model_strength, clip_strength)


def progress() -> Progress:
    """Draws the bar on the node, and stops the merge when the user cancels the prompt."""
    from comfy.model_management import throw_exception_if_processing_interrupted
    from comfy.utils import ProgressBar

    bar = ProgressBar(1)

    def tell(stage: str, count: int, total: int) -> None:
        throw_exception_if_processing_interrupted()
        bar.update_absolute(count, total)

    return tell
