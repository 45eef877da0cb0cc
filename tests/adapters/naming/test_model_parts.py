"""Module names of real files -> parts of a model."""

from __future__ import annotations

import pytest

from lorafold.adapters.naming.model_parts import Group, group_of, kind_of, labels


@pytest.mark.parametrize(
    ("name", "part", "index"),
    [
        # kohya: SD1, SDXL, Flux, SD3, Wan
        ("lora_te_text_model_encoder_layers_11_mlp_fc1", "text encoder", None),
        ("lora_te2_text_model_encoder_layers_3_self_attn_k_proj", "text encoder", 2),
        ("lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn1_to_q", "down block", 1),
        ("lora_unet_mid_block_attentions_0_proj_in", "mid block", None),
        ("lora_unet_up_blocks_3_attentions_2_transformer_blocks_0_ff_net_0_proj", "up block", 3),
        ("lora_unet_input_blocks_4_1_transformer_blocks_1_attn2_to_v", "input block", 4),
        ("lora_unet_middle_block_1_transformer_blocks_9_attn1_to_k", "middle block", None),
        ("lora_unet_output_blocks_0_1_proj_out", "output block", 0),
        ("lora_unet_double_blocks_18_img_attn_qkv", "double block", 18),
        ("lora_unet_single_blocks_37_linear1", "single block", 37),
        ("lora_unet_joint_blocks_7_x_block_attn_qkv", "joint block", 7),
        ("lora_unet_blocks_12.self_attn.k", "block", 12),
        ("lora_unet_time_embedding_linear_1", "other", None),
        # diffusers
        ("unet.down_blocks.2.attentions.0.transformer_blocks.0.attn1.to_q", "down block", 2),
        ("text_encoder.text_model.encoder.layers.0.self_attn.q_proj", "text encoder", None),
        ("text_encoder_2.text_model.encoder.layers.0.self_attn.q_proj", "text encoder", 2),
        ("transformer.single_transformer_blocks.5.attn.to_q", "single block", 5),
        ("transformer.transformer_blocks.5.attn.to_q", "transformer block", 5),
        ("diffusion_model.blocks.29.cross_attn.k_img", "block", 29),
        # PEFT: BERT, Llama, GPT-2, T5, BART, ViT, a plain Sequential
        ("encoder.layer.5.attention.self.query", "layer", 5),
        ("model.layers.31.mlp.down_proj", "layer", 31),
        ("transformer.h.0.attn.c_attn", "layer", 0),
        ("encoder.block.3.layer.0.SelfAttention.q", "encoder layer", 3),
        ("decoder.block.3.layer.1.EncDecAttention.q", "decoder layer", 3),
        ("model.decoder.layers.2.fc1", "decoder layer", 2),
        ("vit.encoder.layer.11.output.dense", "layer", 11),
        ("blk.31.ffn_down", "layer", 31),
        ("transformer.double_stream_blocks.5.block.attn1.to_q_t", "double block", 5),
        ("lm_head", "other", None),
        ("0", "other", None),
    ],
)
def test_names_of_real_files(name, part, index):
    assert group_of(name) == Group(part, index)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("lora_unet_double_blocks_18_img_attn_qkv", "attention qkv"),
        ("transformer.h.0.attn.c_attn", "attention qkv"),
        ("lora_te_text_model_encoder_layers_3_self_attn_q_proj", "attention q"),
        ("encoder.block.3.layer.0.SelfAttention.q", "attention q"),
        ("unet.mid_block.attentions.0.transformer_blocks.0.attn2.to_k", "attention k"),
        ("encoder.layer.5.attention.self.value", "attention v"),
        ("transformer.transformer_blocks.5.attn.add_v_proj", "attention v"),
        ("lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_out_0", "attention out"),
        ("encoder.layer.5.attention.output.dense", "attention out"),
        ("transformer.h.0.attn.c_proj", "attention out"),
        ("model.layers.31.mlp.gate_proj", "mlp gate"),
        ("lora_unet_mid_block_attentions_0_transformer_blocks_0_ff_net_0_proj", "mlp up"),
        ("encoder.layer.5.intermediate.dense", "mlp up"),
        ("encoder.layer.5.output.dense", "mlp down"),
        ("transformer.h.0.mlp.c_proj", "mlp down"),
        ("diffusion_model.blocks.29.ffn.2", "mlp down"),
        ("encoder.block.3.layer.1.DenseReluDense.wo", "mlp down"),
        ("blk.31.attn_q", "attention q"),
        ("blk.31.attn_output", "attention out"),
        ("layers.3.attn.output_proj", "attention out"),
        ("blk.31.ffn_gate", "mlp gate"),
        ("blk.31.ffn_down", "mlp down"),
        ("transformer.double_stream_blocks.5.block.attn1.to_q_t", "attention q"),
        ("lora_unet_down_blocks_0_resnets_1_conv1", "conv"),
        ("lora_unet_up_blocks_1_upsamplers_0_conv", "conv"),
        ("lora_unet_down_blocks_1_attentions_0_proj_in", "projection"),
        ("lora_unet_time_embedding_linear_1", "other"),
        ("lm_head", "other"),
    ],
)
def test_kinds_of_layers(name, kind):
    assert kind_of(name) == kind


def test_few_groups_keep_a_row_each():
    groups = [Group("layer", 10), Group("layer", 2), Group("other", None), Group("layer", 2)]
    assert list(labels(groups).items()) == [
        (Group("layer", 2), "layer 2"),
        (Group("layer", 10), "layer 10"),
        (Group("other", None), "other"),
    ]


@pytest.mark.parametrize(
    ("count", "rows", "last"), [(20, 20, "layer 19"), (21, 11, "layer 20"), (80, 20, "layer 76-79")]
)
def test_many_layers_share_rows(count, rows, last):
    names = list(dict.fromkeys(labels([Group("layer", i) for i in range(count)]).values()))
    assert (len(names), names[-1]) == (rows, last)


def test_every_part_keeps_its_own_rows():
    flux = [Group("double block", i) for i in range(19)] + [Group("single block", i) for i in range(38)]
    names = labels(flux)
    assert len(set(names.values())) <= 20
    assert names[Group("double block", 18)] != names[Group("single block", 0)]


def test_no_groups_have_no_labels():
    assert labels([]) == {}
