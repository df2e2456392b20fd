"""Tiny transformers models with random weights, built from a config and saved with their tokenizer, for any test.

Each builder writes a whole model folder (config, safetensors, tokenizer) and returns its path; equal seeds give equal
weights. Every word of WORDS is one token behind a space; any other text falls into smaller pieces, down to bytes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

_TEXT = (
    "a the is are was not and or of in on to for my your it this that with one two three red green blue grey great "
    "good bad awful fine yes no maybe positive negative neutral movie film parcel order refund invoice password "
    "account card late lost broken lamp kettle kitchen garden river mountain city train bus dog cat bird fish tree "
    "flower stone water fire light dark hot cold warm fast slow big small old new answer question class text label "
    "sort sentence following into classes where when why how please help charged twice forgot change address payment"
)
WORDS = _TEXT.split()
CHAT = (
    "{% for m in messages %}<|{{ m['role'] }}|> {{ m['content'] }}</s>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
"""A chat template in the manner of Zephyr's; the role marks are plain text."""

WIDTH, LAYERS, HEADS = 32, 2, 4
POSITIONS = 192

_SPECIAL: dict[str, dict[str, str]] = {
    "gpt2": {"eos_token": "<|endoftext|>"},
    "llama": {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"},
    "bert": {
        "pad_token": "[PAD]",
        "unk_token": "[UNK]",
        "cls_token": "[CLS]",
        "sep_token": "[SEP]",
        "mask_token": "[MASK]",
    },
    "roberta": {
        "bos_token": "<s>",
        "pad_token": "<pad>",
        "eos_token": "</s>",
        "unk_token": "<unk>",
        "mask_token": "<mask>",
    },
    "t5": {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"},
}
_AROUND = {"llama": ("<s>", ""), "bert": ("[CLS]", "[SEP]"), "roberta": ("<s>", "</s>"), "t5": ("", "</s>")}


def tiny_tokenizer(
    style: str = "gpt2", *, chat: bool = False, positions: int = POSITIONS, **special: str | None
) -> Any:
    """Return a byte-level BPE tokenizer of a style (gpt2, llama, bert, roberta, t5); `special` overrides its tokens."""
    named = {k: v for k, v in {**_SPECIAL[style], **special}.items() if v is not None}
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=4096,
        special_tokens=list(named.values()),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator([" " + " ".join(WORDS)] * 2, trainer)
    before, after = _AROUND.get(style, ("", ""))
    if before or after:
        marks = [(mark, tokenizer.token_to_id(mark)) for mark in (before, after) if mark]
        single = " ".join(part for part in (before, "$A", after) if part)
        tokenizer.post_processor = processors.TemplateProcessing(single=single, special_tokens=marks)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_max_length=positions,
        clean_up_tokenization_spaces=False,
        **named,
        **({"chat_template": CHAT} if chat else {}),
    )


def save(model: Any, tokenizer: Any, folder: str | Path) -> Path:
    """Write a model folder and return its path."""
    model.save_pretrained(folder)
    if tokenizer is not None:
        tokenizer.save_pretrained(folder)
    return Path(folder)


def _build(kind: type, config: Any, seed: int) -> Any:
    """Return a model with weights large enough that its answers depend on its inputs."""
    state = torch.random.get_rng_state()
    torch.manual_seed(seed)
    try:
        model = kind(config)
        # The usual 0.02 leaves so small a net nearly constant over its inputs; a test would not see a wrong mask.
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.dim() > 1:
                    parameter.normal_(0.0, 0.15)
    finally:
        torch.random.set_rng_state(state)
    return model.eval()


def tiny_gpt2(folder: str | Path, *, seed: int = 0, chat: bool = False, **changes: Any) -> Path:
    """Write a GPT-2 with learned positions and a tokenizer without pad token."""
    tokenizer = tiny_tokenizer("gpt2", chat=chat)
    settings = {"n_embd": WIDTH, "n_layer": LAYERS, "n_head": HEADS, "n_positions": POSITIONS, **changes}
    config = transformers.GPT2Config(
        vocab_size=len(tokenizer),
        bos_token_id=tokenizer.eos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        **settings,
    )
    return save(_build(transformers.GPT2LMHeadModel, config, seed), tokenizer, folder)


def tiny_llama(folder: str | Path, *, kind: str = "Llama", seed: int = 0, chat: bool = False, **changes: Any) -> Path:
    """Write a Llama, or a `kind` "Qwen2" or "Mistral" of the same shape: 4 heads over 2 heads of keys and values."""
    # Qwen2's own tokenizer class knows no first token, and adds <|endoftext|> where it is missing.
    tokenizer = tiny_tokenizer("gpt2" if kind == "Qwen2" else "llama", chat=chat)
    settings = {
        "hidden_size": WIDTH,
        "intermediate_size": 2 * WIDTH,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "num_key_value_heads": HEADS // 2,
        "max_position_embeddings": POSITIONS,
        **changes,
    }
    config = getattr(transformers, f"{kind}Config")(
        vocab_size=len(tokenizer),
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=None,
        **settings,
    )
    return save(_build(getattr(transformers, f"{kind}ForCausalLM"), config, seed), tokenizer, folder)


def tiny_bert(folder: str | Path, *, seed: int = 0, head: bool = True, **changes: Any) -> Path:
    """Write a BERT with its masked language-model head, or without any (`head=False`)."""
    tokenizer = tiny_tokenizer("bert")
    settings = {
        "hidden_size": WIDTH,
        "intermediate_size": 2 * WIDTH,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "max_position_embeddings": POSITIONS,
        **changes,
    }
    config = transformers.BertConfig(vocab_size=len(tokenizer), pad_token_id=tokenizer.pad_token_id, **settings)
    kind = transformers.BertForMaskedLM if head else transformers.BertModel
    return save(_build(kind, config, seed), tokenizer, folder)


def tiny_roberta(folder: str | Path, *, seed: int = 0, **changes: Any) -> Path:
    """Write a RoBERTa with its masked language-model head; its positions begin behind the pad token's id."""
    tokenizer = tiny_tokenizer("roberta")
    settings = {
        "hidden_size": WIDTH,
        "intermediate_size": 2 * WIDTH,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "max_position_embeddings": POSITIONS + 2,
        "type_vocab_size": 1,
        **changes,
    }
    config = transformers.RobertaConfig(
        vocab_size=len(tokenizer),
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        **settings,
    )
    return save(_build(transformers.RobertaForMaskedLM, config, seed), tokenizer, folder)


def tiny_t5(folder: str | Path, *, seed: int = 0, **changes: Any) -> Path:
    """Write a T5 with relative positions in encoder and decoder."""
    tokenizer = tiny_tokenizer("t5")
    settings = {
        "d_model": WIDTH,
        "d_kv": WIDTH // HEADS,
        "d_ff": 2 * WIDTH,
        "num_layers": LAYERS,
        "num_decoder_layers": LAYERS,
        "num_heads": HEADS,
        **changes,
    }
    config = transformers.T5Config(
        vocab_size=len(tokenizer),
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        decoder_start_token_id=tokenizer.pad_token_id,
        **settings,
    )
    return save(_build(transformers.T5ForConditionalGeneration, config, seed), tokenizer, folder)


BUILDERS = {
    "gpt2": tiny_gpt2,
    "llama": tiny_llama,
    "qwen2": lambda folder: tiny_llama(folder, kind="Qwen2"),
    "mistral": lambda folder: tiny_llama(folder, kind="Mistral"),
    "bert": tiny_bert,
    "encoder": lambda folder: tiny_bert(folder, head=False),
    "roberta": tiny_roberta,
    "t5": tiny_t5,
}
CAUSAL = ("gpt2", "llama", "qwen2", "mistral")
