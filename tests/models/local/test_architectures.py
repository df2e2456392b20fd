"""Architectures that no table describes: answers and scores are transformers' own all the same.

Each has something of its own on the way to the logits: a cap, a scale, a window, a head on an inner part, a bias.
"""

from __future__ import annotations

import pytest
import torch
import transformers
from tiny import tiny_tokenizer

import promptology as pt
from promptology.models.access import Request

PROMPTS = ["the movie is great and the train is fast and the river is slow and cold", "my parcel", "where is my order"]
SHAPE = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 192,
}
TOKENS = {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0, "vocab_size": 523}
PAIR = {
    "d_model": 32,
    **{f"{side}_{name}": n for side in ("encoder", "decoder") for name, n in (("layers", 2), ("attention_heads", 4))},
    "encoder_ffn_dim": 64,
    "decoder_ffn_dim": 64,
    "max_position_embeddings": 192,
    "decoder_start_token_id": 0,
    "forced_eos_token_id": None,
}
CASES = {
    "Gemma2ForCausalLM": {**SHAPE, "num_key_value_heads": 2, "head_dim": 8, "query_pre_attn_scalar": 8}
    | {"sliding_window": 8, "final_logit_softcapping": 3.0},
    "MistralForCausalLM": {**SHAPE, "num_key_value_heads": 2, "sliding_window": 8},
    "GraniteForCausalLM": {**SHAPE, "logits_scaling": 3.0},
    "GPTNeoXForCausalLM": SHAPE,
    "OPTForCausalLM": {k: v for k, v in SHAPE.items() if k != "intermediate_size"}
    | {"ffn_dim": 64, "word_embed_proj_dim": 16},
    "BartForConditionalGeneration": PAIR,
}


def build(name):
    torch.manual_seed(0)
    kind = getattr(transformers, name)
    model = kind(kind.config_class(**CASES[name], **TOKENS))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(0.0, 0.15)
    return model.eval()


@pytest.mark.parametrize("name", CASES)
def test_answers_and_scores_are_transformers_own(name):
    held = build(name)
    model = pt.model(held, tiny_tokenizer("gpt2"))
    body = model.frozen()
    pair = body.kind == "seq2seq"
    found = dict(model.generate([Request.user(p, max_tokens=12) for p in PROMPTS]))
    for n, prompt in enumerate(PROMPTS):
        ids = torch.tensor([body.encode(prompt)])
        given = {"attention_mask": torch.ones_like(ids), "max_new_tokens": 12, "do_sample": False}
        out = held.generate(ids, pad_token_id=0, **given)[0]
        new = out[1:] if pair else out[ids.shape[1] :]
        assert found[n].text == body.tokenizer.decode(new, skip_special_tokens=True)
    prompts = [f"{PROMPTS[0]} {PROMPTS[0]} {p}" for p in PROMPTS]
    choices = [" great", " bad red"]
    for prompt, row in zip(prompts, model.score(prompts, [choices] * 3), strict=True):
        ids = body.encode(prompt)
        for choice, value in zip(choices, row, strict=True):
            target = body.continuation(prompt, choice)
            if pair:
                tokens = torch.tensor([[*body.start, *target[:-1]]])
                given = {"input_ids": torch.tensor([ids]), "decoder_input_ids": tokens}
            else:
                given = {"input_ids": torch.tensor([[*ids, *target]])}
            with torch.no_grad():
                table = held(**given).logits[0, 0 if pair else len(ids) - 1 :].float().log_softmax(-1)
            expected = sum(float(table[n, token]) for n, token in enumerate(target))
            assert value == pytest.approx(expected, abs=1e-5)
