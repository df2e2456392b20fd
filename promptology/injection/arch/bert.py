"""BERT and RoBERTa: one bidirectional stack with learned positions, RoBERTa's from behind its padding index."""

from promptology.injection.arch.table import Block, Stack

BLOCK = Block(
    attention="attention",
    core="attention.self",
    mlp="output.dense",
    norms=("attention.output.LayerNorm", "output.LayerNorm"),
    query="attention.self.query",
    key="attention.self.key",
    value="attention.self.value",
    out="attention.output.dense",
)


def _stack(positions: str) -> tuple[Stack, ...]:
    return (
        Stack("text", "", "embeddings.word_embeddings", "encoder.layer", BLOCK, positions=positions, pooled="pooler"),
    )


TABLES = {"bert": _stack("ids"), "roberta": _stack("padded"), "xlm-roberta": _stack("padded")}
