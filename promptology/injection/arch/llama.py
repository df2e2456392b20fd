"""Llama and its relatives by the same table: one causal stack with rotary positions, grouped queries allowed."""

from promptology.injection.arch.table import Block, Stack

BLOCK = Block(
    attention="self_attn",
    core="self_attn",
    mlp="mlp",
    norms=("input_layernorm", "post_attention_layernorm"),
    query="self_attn.q_proj",
    key="self_attn.k_proj",
    value="self_attn.v_proj",
    out="self_attn.o_proj",
)
STACK = Stack("text", "", "embed_tokens", "layers", BLOCK, causal=True, norm="norm")
TABLES = {name: (STACK,) for name in ("llama", "mistral", "qwen2", "qwen3", "smollm3")}
