"""A node for ComfyUI, *Merge LoRAs (lorafold)*: files of its LoRA folders, merged and applied to a model and its CLIP.

With lorafold installed in ComfyUI's Python, a file in `custom_nodes/` (see `examples/comfyui/`) needs this line:

    from lorafold.integrations.comfyui import NODE_CLASS_MAPPINGS, NODE_DISPLAY_NAME_MAPPINGS
"""

from lorafold.integrations.comfyui.node import MergeLoras

NODE_CLASS_MAPPINGS = {"LorafoldMerge": MergeLoras}
NODE_DISPLAY_NAME_MAPPINGS = {"LorafoldMerge": "Merge LoRAs (lorafold)"}

__all__ = ["NODE_CLASS_MAPPINGS", "NODE_DISPLAY_NAME_MAPPINGS"]
