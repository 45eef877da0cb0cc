"""What the formats have in common, and what one of them has alone."""

from __future__ import annotations

from contextlib import nullcontext

import pytest

from lorafold.adapters import FORMATS
from lorafold.adapters.conversion.convert import convert
from lorafold.common.errors import LorafoldError
from tests.builders import random_adapter

PIPELINE = ("lora_unet_mid_block_attentions_0_proj_in", "lora_te_text_model_encoder_layers_0_mlp_fc1")


@pytest.mark.parametrize("name", FORMATS)
def test_one_file_holds_all_models_of_a_pipeline_or_is_for_one(name):
    adapter = random_adapter("kohya", dict.fromkeys(PIPELINE, (6, 5)), 2)
    with pytest.raises(LorafoldError) if FORMATS[name].one_model else nullcontext():
        assert len(convert(adapter, name).modules) == 2
