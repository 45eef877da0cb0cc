"""What stands on the page, from top to bottom."""

from __future__ import annotations

from pathlib import Path

import gradio as gr

from lorafold.commands.ui import words
from lorafold.commands.ui.drop import drop
from lorafold.commands.ui.work import AUTO
from lorafold.common.options import choices
from lorafold.scales import SCALES

CSS = Path(__file__).with_name("page.css")
THEME = gr.themes.Default(
    primary_hue="indigo",
    font=("ui-sans-serif", "system-ui", "sans-serif"),
    font_mono=("ui-monospace", "Consolas", "monospace"),
)
MOST = 8  # adapters: there are so many sliders
NUMBER = "a number"


class Controls:
    """All of them, by name; to be made inside `gr.Blocks`."""

    def __init__(self) -> None:
        gr.HTML(words.HEAD)
        self.drop = drop("Two or more adapters of one base model", [".safetensors", ".gguf", ".json"])
        self.cards = gr.HTML(elem_id="adapters")
        with gr.Column(visible=False, elem_id="both") as self.both:
            self.overlap = gr.HTML(elem_id="overlap", min_height=40)
            self._settings()
            self._calibration()
            with gr.Row():
                self.merge = gr.Button("Merge", variant="primary", elem_id="merge")
                self.clear = gr.Button("Start again", elem_id="clear")
            self.result = gr.HTML(elem_id="result", min_height=90)
            self.download = gr.DownloadButton("Download", variant="primary", visible=False, elem_id="download")
            self.picture = gr.HTML(elem_id="picture")

    def _settings(self) -> None:
        methods = [("lorafold's own", ""), *((name, name) for name in choices("method"))]
        scales = [("chosen for you", AUTO), (NUMBER, NUMBER), *((name, name) for name in SCALES)]
        with gr.Row():
            self.rank = gr.Slider(1, 256, 32, step=1, label="Rank", elem_id="rank")
            self.method = gr.Dropdown(methods, value="", label="Method", elem_id="method")
            self.scale = gr.Dropdown(scales, value=AUTO, label="Strength", elem_id="scale")
            self.factor = gr.Slider(0.05, 3, 1, step=0.05, label="Times the weighted sum", visible=False)
        self.weighted = gr.Checkbox(label="Weights of my own", elem_id="weighted")
        with gr.Row(visible=False, elem_id="weights") as self.row:
            self.weights = [gr.Slider(-1, 2, 0.5, step=0.05, visible=False, min_width=200) for _ in range(MOST)]

    def _calibration(self) -> None:
        with gr.Accordion("Calibration", open=False, elem_id="calibration"):
            self.statistics = drop(
                "Files that lorafold calibrate wrote, one for each adapter, in their order", [".safetensors"]
            )
            self.calibrated = gr.HTML(elem_id="calibrated")
