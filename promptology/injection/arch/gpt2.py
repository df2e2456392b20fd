"""GPT-2: one causal stack with learned positions; query, key and value come from one projection."""

from promptology.injection.arch.table import Block, Stack

BLOCK = Block(
    attention="attn",
    core="attn",
    mlp="mlp",
    norms=("ln_1", "ln_2"),
    query="attn.c_attn",
    key="attn.c_attn",
    value="attn.c_attn",
    out="attn.c_proj",
)
TABLES = {"gpt2": (Stack("text", "", "wte", "h", BLOCK, causal=True, norm="ln_f"),)}
