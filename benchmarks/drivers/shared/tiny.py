"""Tiny models with random weights from a seed, and batches of random tokens: the same on every side."""

import ctypes
import gc
import re
from pathlib import Path

import torch
import transformers

FIRST = 10  # smaller tokens are left to the special ones


def model_of(shape, seed=0):
    """Return a frozen model of a shape: family, vocab, width, layers, heads; float32, one thread, no dropout."""
    torch.set_num_threads(1)
    transformers.utils.logging.set_verbosity_error()
    torch.manual_seed(seed)
    model = BUILDERS[shape["family"]](**{k: v for k, v in shape.items() if k != "family"})
    return model.eval().requires_grad_(False)


def llama(vocab, width, layers, heads, context=1024):
    """Return a Llama; the feed-forward width is 8/3 of the width, in steps of 16."""
    config = transformers.LlamaConfig(
        vocab_size=vocab,
        hidden_size=width,
        intermediate_size=16 * round(width / 6),
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=heads,
        max_position_embeddings=context,
        **SPECIAL,
    )
    return transformers.LlamaForCausalLM(config)


def gpt2(vocab, width, layers, heads, context=1024):
    """Return a GPT-2."""
    dropouts = dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), 0.0)
    config = transformers.GPT2Config(
        vocab_size=vocab, n_embd=width, n_layer=layers, n_head=heads, n_positions=context, **dropouts, **SPECIAL
    )
    return transformers.GPT2LMHeadModel(config)


def t5(vocab, width, layers, heads):
    """Return a T5 with as many layers in the encoder as in the decoder."""
    config = transformers.T5Config(
        vocab_size=vocab,
        d_model=width,
        d_kv=width // heads,
        d_ff=4 * width,
        num_layers=layers,
        num_decoder_layers=layers,
        num_heads=heads,
        dropout_rate=0.0,
        decoder_start_token_id=0,
        **SPECIAL,
    )
    return transformers.T5ForConditionalGeneration(config)


SPECIAL = {"bos_token_id": None, "eos_token_id": 1, "pad_token_id": 0}
BUILDERS = {"llama": llama, "gpt2": gpt2, "t5": t5}


def tokenizer_of(vocab):
    """Return a tokenizer with one word per token: token n is the word "wN"; tokens 0 to 2 are pad, end and unknown."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    special = {"pad_token": "<pad>", "eos_token": "<end>", "unk_token": "<unk>"}
    words = {word: n for n, word in enumerate([*special.values(), *(f"w{n}" for n in range(3, vocab))])}
    raw = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    raw.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    names = ["input_ids", "attention_mask"]
    return transformers.PreTrainedTokenizerFast(tokenizer_object=raw, model_input_names=names, **special)


def tokens_of(count, length, vocab, seed):
    """Return rows of random tokens, shape (count, length)."""
    made = torch.Generator().manual_seed(seed)
    return torch.randint(FIRST, vocab, (count, length), generator=made)


def start_of(shape, seed=7, *, scale):
    """Return random numbers to begin with."""
    return scale * torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def train(step, parameters, batches, rate, before=None, after=None):
    """Train with AdamW, one step a batch, and return the losses; `before` and `after` are called around each step."""
    optimizer = torch.optim.AdamW(parameters, lr=rate, weight_decay=0.0)
    losses = []
    for batch in batches:
        if before is not None:
            before()
        loss = step(batch)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        if after is not None:
            after()
        losses.append(float(loss.detach()))
        del loss
    return losses


class Memory:
    """Peak of the process's resident memory above what it held before a step, in MB, as the kernel counts it.

    Tensors of more than 64 kB get pages of their own, which go back when they are freed: what is counted is what lives
    at once, temporaries inside kernels included. Counted from step `first` on; earlier ones set up what is set up once.
    To be made before the model is.
    """

    def __init__(self, first):
        self.first, self.seen, self.held, self.peaks = first, 0, 0.0, []
        self.libc = ctypes.CDLL("libc.so.6")
        self.libc.mallopt(-3, 1 << 16)  # M_MMAP_THRESHOLD
        self.libc.mallopt(-1, 1 << 16)  # M_TRIM_THRESHOLD

    def before(self):
        """Begin at what is held now."""
        self.seen += 1
        if self.seen < self.first:
            return
        gc.collect()
        self.libc.malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")
        self.held = status("VmRSS")

    def after(self):
        """Keep the peak since."""
        if self.seen >= self.first:
            self.peaks.append(status("VmHWM") - self.held)

    def median(self):
        """Return the median of the peaks, the first one left out."""
        peaks = sorted(self.peaks[1:])
        return peaks[len(peaks) // 2]


def status(name):
    """Return a line of this process's status in MB."""
    return int(re.search(rf"{name}:\s+(\d+)", Path("/proc/self/status").read_text())[1]) / 1024
