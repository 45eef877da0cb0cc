"""Copy this folder into ComfyUI's `custom_nodes/`, with lorafold installed in ComfyUI's Python."""

from lorafold.integrations.comfyui import NODE_CLASS_MAPPINGS, NODE_DISPLAY_NAME_MAPPINGS

__all__ = ["NODE_CLASS_MAPPINGS", "NODE_DISPLAY_NAME_MAPPINGS"]
