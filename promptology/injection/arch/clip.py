"""CLIP and SigLIP: two towers as stacks. They read a fixed number of positions, so nothing is prepended there.

What is learned takes the place of tokens, or stands behind those of an image: see `promptology.injection.towers`.
"""

from promptology.injection.arch.table import Block, Stack

BLOCK = Block(
    attention="self_attn",
    core="self_attn",
    mlp="mlp",
    norms=("layer_norm1", "layer_norm2"),
    query="self_attn.q_proj",
    key="self_attn.k_proj",
    value="self_attn.v_proj",
    out="self_attn.out_proj",
)
FIXED = {"input": "a tower reads a fixed number of positions; use layer[0]", "key_value": "as for input"}


def _towers(causal: bool, head: str) -> tuple[Stack, ...]:
    text = Stack(
        "text",
        "text_model",
        "embeddings.token_embedding",
        "encoder.layers",
        BLOCK,
        causal=causal,
        norm="final_layer_norm",
        pooled=head,
        without=FIXED,
    )
    vision = Stack(
        "vision",
        "vision_model",
        "embeddings",
        "encoder.layers",
        BLOCK,
        norm="post_layernorm",
        pooled=head,
        without=FIXED,
    )
    return text, vision


TABLES = {"clip": _towers(True, ""), "siglip": _towers(False, "head")}
