"""Tokenizers of the embedded language models: every word of a list is one token, any other text falls into pieces.

Text is cut into words, single digits, single signs and single blanks or newlines, each with the blank before it where
there is one, as GPT-2 does; so what stands before a blank never changes the tokens behind it, and letters keep their
case. A word of the list has two tokens: behind a blank, and at the beginning of a text, of a line or behind a sign.
Other words fall into the fewest pieces that the vocabulary offers: words, frequent groups of letters, at last bytes. So
every text comes back as it was. The entries follow from the list alone, in its order: nothing is trained.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

CONTRACTIONS = ("'s", "'t", "'re", "'ve", "'m", "'ll", "'d")
_CUT = rf"(?:{'|'.join(CONTRACTIONS)})(?!\p{{L}})| ?\p{{L}}[\p{{L}}\p{{M}}]*| ?[^\s\p{{L}}]|\s"
_WORD = re.compile(r"[^\W\d_]+")
PIECES = 300
"""Groups of letters, taken from the words, of which unknown words are made."""

ROLES = ("system", "user", "assistant")
CHAT = (
    "{{ bos_token }}{% for message in messages %}<|{{ message['role'] }}|>{{ message['content'] }}{{ eos_token }}"
    "{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
"""Chat template: a mark for the role, the content as it is, the end token."""

_SPECIAL: dict[str, dict[str, str]] = {
    "causal": {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"},
    "masked": {
        "pad_token": "[PAD]",
        "unk_token": "[UNK]",
        "cls_token": "[CLS]",
        "sep_token": "[SEP]",
        "mask_token": "[MASK]",
    },
    "seq2seq": {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"},
}
_AROUND = {"causal": ("<s>", ""), "masked": ("[CLS]", "[SEP]"), "seq2seq": ("", "</s>")}


def tokenizer(
    words: Iterable[str], style: str, *, positions: int, chat: bool = False, sentinels: int = 0, pieces: int = PIECES
) -> PreTrainedTokenizerFast:
    """Return the tokenizer of a list of words; a word that comes twice counts once.

    `style`: "causal" begins a text with <s>, "masked" puts it between [CLS] and [SEP], "seq2seq" ends it with </s>.
    `positions`: longest input. `chat`: with a chat template; its marks <|system|>, <|user|>, <|assistant|> are tokens.
    `sentinels`: how many <extra_id_N> there are, for spans that are left out.

    Where an answer begins, a label with a blank before it and one without must be the same: so the blank before [MASK]
    belongs to it, and so does the one behind <|assistant|>; and "seq2seq" puts one blank before every text, as T5 does,
    so that a label alone is the word that running text holds. A blank that a text begins with is then the
    only thing that does not come back. Raises ValueError for a word that is not made of letters.
    """
    listed = list(dict.fromkeys(words))
    if odd := [word for word in listed if not _WORD.fullmatch(word)]:
        raise ValueError(f"not a word of letters alone: {odd[0]!r}")
    marks = [f"<|{role}|>" for role in ROLES] if chat else []
    special = [*_SPECIAL[style].values(), *marks, *(f"<extra_id_{n}>" for n in range(sentinels))]
    built = Tokenizer(models.Unigram(_entries(special, listed, pieces), special.index(_SPECIAL[style]["unk_token"])))
    built.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_CUT), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    built.decoder = decoders.ByteLevel()
    if style == "seq2seq":
        built.normalizer = normalizers.Sequence([normalizers.Replace(Regex(r"\A "), ""), normalizers.Prepend(" ")])
        built.decoder = decoders.Sequence([decoders.ByteLevel(), decoders.Strip(" ", 1, 0)])
    built.add_special_tokens([_mark(text) for text in special])
    before, after = _AROUND[style]
    single = " ".join(part for part in (before, "$A", after) if part)
    ids = [(mark, built.token_to_id(mark)) for mark in (before, after) if mark]
    built.post_processor = processors.TemplateProcessing(single=single, special_tokens=ids)
    named: dict[str, Any] = {name: _mark(text) for name, text in _SPECIAL[style].items()}
    return PreTrainedTokenizerFast(
        tokenizer_object=built,
        model_max_length=positions,
        clean_up_tokenization_spaces=False,
        model_input_names=["input_ids", "attention_mask"],
        **named,
        **({"chat_template": CHAT} if chat else {}),
    )


def _mark(text: str) -> AddedToken:
    return AddedToken(text, special=True, normalized=False, lstrip=text == "[MASK]", rstrip=text == "<|assistant|>")


def words_of(texts: Iterable[str]) -> list[str]:
    """Return the words of texts, the most frequent first, then by the alphabet; a contraction is cut at its sign."""
    found = Counter(word for text in texts for word in _WORD.findall(text))
    return sorted(found, key=lambda word: (-found[word], word))


def _entries(special: Sequence[str], words: Sequence[str], pieces: int) -> list[tuple[str, float]]:
    """Return the entries with their scores, by which the fewest pieces win, and of as many the longer ones."""
    signs = [f" {sign}" for sign in string.digits + string.punctuation]
    grouped = [" " + letter for letter in string.ascii_letters] + _groups(words, pieces)
    texts = [*signs, *CONTRACTIONS, *grouped, *(form for word in words for form in (f" {word}", word))]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    shown = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    spelt = ["".join(part for part, _ in shown.pre_tokenize_str(text)) for text in texts]
    known = dict.fromkeys([*special, *alphabet, *spelt])
    # No text reaches the scores of the special tokens: those are found before it is cut.
    return [(text, -1e3 if text in special else -1.0 - 0.01 / len(text)) for text in known]


def _groups(words: Sequence[str], most: int) -> list[str]:
    """Return the groups of 2 to 4 letters that save the most pieces in the words; a blank before a word counts."""
    saved: Counter[str] = Counter()
    for word in words:
        text = f" {word.lower()}"
        for length in (2, 3, 4):
            saved.update({text[at : at + length]: length - 1 for at in range(len(text) - length + 1)})
    return sorted(saved, key=lambda group: (-saved[group], group))[:most]
