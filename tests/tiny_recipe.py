"""A recipe that trains in a second: a Llama of one layer, with dropout, that learns to repeat a word."""

from __future__ import annotations

import os
import time
from typing import ClassVar

import numpy as np
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from promptology.zoo.folders import MODELS, Model
from promptology.zoo.recipes import WHERE
from promptology.zoo.recipes.course import Recipe

WORDS = ["<pad>", "<end>", "say", *(f"word{n}" for n in range(20))]
NAME = "tiny-echo"


class TinyEcho(Recipe):
    """Shows "say WORD WORD" and judges the last word."""

    name = NAME
    says = "repeats a word"
    data = "Twenty words, drawn at random."
    bars: ClassVar = {"echo": 0.5}
    steps = 60
    rate = 1e-2
    wait = 0.0

    def model(self):
        """Return a Llama of one layer."""
        config = LlamaConfig(
            vocab_size=len(WORDS),
            hidden_size=16,
            intermediate_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            attention_dropout=0.1,
            max_position_embeddings=32,
            pad_token_id=0,
            bos_token_id=None,
            eos_token_id=1,
        )
        return LlamaForCausalLM(config)

    def processors(self):
        """Return the tokenizer of whole words."""
        raw = Tokenizer(models.WordLevel({word: n for n, word in enumerate(WORDS)}, unk_token="<pad>"))
        raw.pre_tokenizer = pre_tokenizers.Whitespace()
        names = {"pad_token": "<pad>", "unk_token": "<pad>", "eos_token": "<end>"}
        return [PreTrainedTokenizerFast(tokenizer_object=raw, **names)]

    def batch(self, rng, stage):
        """Return 8 rows, from more words at later stages."""
        time.sleep(self.wait)
        word = rng.integers(3, 8 + 5 * min(stage, 3), 8)
        return {"ids": np.stack([np.full(8, 2), word, word], 1)}

    def loss(self, model, batch):
        """Return the loss of the last word."""
        logits = model(input_ids=batch["ids"][:, :2]).logits[:, -1]
        target = batch["ids"][:, 2]
        return torch.nn.functional.cross_entropy(logits, target), (logits.argmax(-1) == target).float().mean()

    def after(self, stage, accuracy):
        """Go on whatever the accuracy."""
        return stage + 1

    def ability(self, folder):
        """Measure without the library: on every word."""
        model = LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32)
        words = torch.arange(3, len(WORDS))
        ids = torch.stack([torch.full_like(words, 2), words], 1)
        with torch.no_grad():
            right = model(input_ids=ids).logits[:, -1].argmax(-1) == words
        return {"echo": float(right.float().mean()), "words": 20.0}


class TinyBad(TinyEcho):
    """Has a loss that is not a number from the second round on."""

    def batch(self, rng, stage):
        """Mark the batches of later stages."""
        return {**super().batch(rng, stage), "bad": np.array(float("nan") if stage else 0.0, np.float32)}

    def loss(self, model, batch):
        """Return a loss that is none where the batch is marked."""
        loss, right = super().loss(model, batch)
        return loss + batch["bad"], right


def add(set_item, cls=TinyEcho, **fields):
    """Make a recipe known under NAME, through `set_item(mapping, key, value)`."""
    set_item(WHERE, NAME, type(cls.__name__, (cls,), fields) if fields else cls)
    set_item(MODELS, NAME, Model("LlamaForCausalLM", "repeats a word"))


if fields := os.environ.get("TINY_RECIPE"):
    # For a process of its own that is started with this module: fields as FIELD=NUMBER, parted by blanks.
    given = (word.split("=") for word in fields.split())
    add(lambda at, key, value: at.__setitem__(key, value), **{k: type(getattr(TinyEcho, k))(v) for k, v in given})
