"""The names of the weights, which checkpoints are read by: they never change."""

from __future__ import annotations

import pytest

from vocolab.lm import backbones, fast

TRANSFORMER = """position_scale blocks.0.attention_norm.weight blocks.0.attention_norm.bias blocks.0.qkv.weight
    blocks.0.qkv.bias blocks.0.out.weight blocks.0.out.bias blocks.0.ffn_norm.weight blocks.0.ffn_norm.bias
    blocks.0.up.weight blocks.0.up.bias blocks.0.down.weight blocks.0.down.bias norm.weight norm.bias"""
ADAPTIVE = """position_scale blocks.0.attention_norm.levels.weight blocks.0.qkv.weight blocks.0.qkv.bias
    blocks.0.out.weight blocks.0.out.bias blocks.0.ffn_norm.levels.weight blocks.0.up.weight blocks.0.up.bias
    blocks.0.down.weight blocks.0.down.bias norm.levels.weight"""
RETNET = """blocks.0.retention_norm.weight blocks.0.qkvg.weight blocks.0.out.weight blocks.0.ffn_norm.weight
    blocks.0.ffn.gate_up.weight blocks.0.ffn.down.weight norm.weight"""
RETNET_EXPERTS = """blocks.0.retention_norm.weight blocks.0.qkvg.weight blocks.0.out.weight blocks.0.ffn_norm.weight
    blocks.0.ffn.router.weight blocks.0.ffn.experts.0.gate_up.weight blocks.0.ffn.experts.0.down.weight
    blocks.0.ffn.experts.1.gate_up.weight blocks.0.ffn.experts.1.down.weight norm.weight"""
ATTENTION = """model.layers.0.self_attn.q_proj.weight model.layers.0.self_attn.k_proj.weight
    model.layers.0.self_attn.v_proj.weight model.layers.0.self_attn.o_proj.weight
    model.layers.0.input_layernorm.weight model.layers.0.post_attention_layernorm.weight model.norm.weight"""
LLAMA = f"""{ATTENTION} model.layers.0.mlp.gate_proj.weight model.layers.0.mlp.up_proj.weight
    model.layers.0.mlp.down_proj.weight"""
MIXTRAL = f"""{ATTENTION} model.layers.0.mlp.gate.weight model.layers.0.mlp.experts.gate_up_proj
    model.layers.0.mlp.experts.down_proj"""


@pytest.mark.parametrize(
    ("name", "more", "wanted"),
    [
        ("Transformer", {}, TRANSFORMER),
        ("Transformer", {"linear": "BitLinear"}, TRANSFORMER),
        ("Transformer", {"adaptive_levels": 3}, ADAPTIVE),
        ("RetNet", {}, RETNET),
        ("RetNet", {"experts": 2}, RETNET_EXPERTS),
        ("Llama", {}, LLAMA),
        ("Mixtral", {"experts": 2}, MIXTRAL),
        ("BitNet", {}, LLAMA),
    ],
)
def test_a_checkpoint_of_before_loads(name, more, wanted):
    model = getattr(backbones, name)(dim=8, heads=2, layers=1, ffn=12, **more)
    assert set(model.state_dict()) == set(wanted.split())
    assert set(fast.prepare(model).state_dict()) == set(wanted.split())
