"""T5 and mT5: an encoder and a decoder, positions by a bias on the attention scores alone."""

from promptology.injection.arch.table import Block, Stack

ENCODER = Block(
    attention="layer.0",
    core="layer.0.SelfAttention",
    mlp="layer.1",
    norms=("layer.0.layer_norm", "layer.1.layer_norm"),
    query="layer.0.SelfAttention.q",
    key="layer.0.SelfAttention.k",
    value="layer.0.SelfAttention.v",
    out="layer.0.SelfAttention.o",
)
DECODER = Block(
    attention="layer.0",
    core="layer.0.SelfAttention",
    cross="layer.1.EncDecAttention",
    mlp="layer.2",
    norms=("layer.0.layer_norm", "layer.1.layer_norm", "layer.2.layer_norm"),
    query="layer.0.SelfAttention.q",
    key="layer.0.SelfAttention.k",
    value="layer.0.SelfAttention.v",
    out="layer.0.SelfAttention.o",
)
ROWS = "virtual tokens of a decoder would attend to each row's own encoder; use decoder.key_value[i]"
STACKS = (
    Stack(
        "encoder",
        "encoder",
        "embed_tokens",
        "block",
        ENCODER,
        positions="none",
        norm="final_layer_norm",
        keeps=True,
    ),
    Stack(
        "decoder",
        "decoder",
        "embed_tokens",
        "block",
        DECODER,
        causal=True,
        positions="none",
        norm="final_layer_norm",
        without={"input": ROWS},
    ),
)
TABLES = {"t5": STACKS, "mt5": STACKS}
