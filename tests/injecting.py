"""What the tests of injection share: tiny models, what attaching must equal, and what a model is made of."""

from __future__ import annotations

from contextlib import contextmanager
from inspect import signature

import torch
import transformers
from tiny import HEADS, LAYERS, WIDTH, tiny_bert, tiny_gpt2, tiny_llama, tiny_roberta, tiny_t5

SIZE = WIDTH // HEADS
NEAR = 5e-6
"""Largest difference of two ways to compute the same in float32: sums in another order."""
FAR = 1e-3
"""Least difference that a part must make, so that an equality is not one of parts that do nothing."""

FOLDERS = {
    "gpt2": (tiny_gpt2, {}),
    "llama": (tiny_llama, {}),
    "qwen2": (tiny_llama, {"kind": "Qwen2"}),
    "mistral": (tiny_llama, {"kind": "Mistral", "sliding_window": None}),
    "sliding": (tiny_llama, {"kind": "Mistral", "sliding_window": 16}),
    "qwen3": (tiny_llama, {"kind": "Qwen3", "head_dim": SIZE}),
    "smollm3": (tiny_llama, {"kind": "SmolLM3"}),
    "bert": (tiny_bert, {}),
    "roberta": (tiny_roberta, {}),
    "t5": (tiny_t5, {}),
}
AUTO = {"bert": "MaskedLM", "roberta": "MaskedLM", "t5": "Seq2SeqLM"}
CAUSAL = ("gpt2", "llama", "qwen2", "mistral", "qwen3", "smollm3")


def load(folder, kind, head=None, attention="sdpa", **settings):
    """Return a model of a saved folder, its weights frozen."""
    auto = getattr(transformers, f"AutoModelFor{head or AUTO.get(kind, 'CausalLM')}" if head != "" else "AutoModel")
    return frozen(auto.from_pretrained(folder, attn_implementation=attention, **settings))


def frozen(model):
    return model.requires_grad_(False).eval()


def towers(kind):
    """Return a CLIP or SigLIP of random weights."""
    size = {"hidden_size": WIDTH, "intermediate_size": 64, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS}
    text = {**size, "vocab_size": 60, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
    vision = {**size, "image_size": 32, "patch_size": 8}
    name = {"clip": "CLIP", "siglip": "Siglip"}[kind]
    config = getattr(transformers, f"{name}Config")(text_config=text, vision_config=vision)
    return random_weights(getattr(transformers, f"{name}Model")(config))


def opt():
    """Return an OPT, an architecture without a table."""
    size = {"hidden_size": WIDTH, "word_embed_proj_dim": WIDTH, "ffn_dim": 64, "num_hidden_layers": LAYERS}
    ends = {"pad_token_id": 0, "bos_token_id": 0, "eos_token_id": 0}
    config = transformers.OPTConfig(
        vocab_size=60, num_attention_heads=HEADS, max_position_embeddings=64, **size, **ends
    )
    return random_weights(transformers.OPTForCausalLM(config))


def random_weights(model):
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(0.0, 0.2, generator=generator)
    return frozen(model)


def normal(*shape, seed=0, scale=0.5):
    """Return random numbers that depend on the shape and the seed alone."""
    return scale * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def token_ids(model, rows=3, length=7, seed=1):
    """Return random ids of ordinary tokens, shape (rows, length)."""
    generator = torch.Generator().manual_seed(seed)
    vocabulary = getattr(model.config, "text_config", model.config).vocab_size
    return torch.randint(8, vocabulary, (rows, length), generator=generator)


def mask_of(side, rows=3, length=7):
    """Return an attention mask whose second row is padded on a side; None: no row is."""
    mask = torch.ones(rows, length, dtype=torch.long)
    if side == "left":
        mask[1, :3] = 0
    elif side == "right":
        mask[1, 4:] = 0
    return mask


def positions_of(mask):
    return (mask.cumsum(dim=1) - 1).clamp(min=0)


def behind(prompt, ids, model):
    """Return embeddings of virtual tokens with those of the text behind, a prompt (l, d) or (rows, l, d)."""
    prompt = prompt if prompt.dim() == 3 else prompt.expand(len(ids), -1, -1)
    return torch.cat([prompt.to(model.dtype), model.get_input_embeddings()(ids)], dim=1)


def wider(mask, length):
    """Return a mask with columns for virtual tokens in front."""
    return torch.cat([mask.new_ones((len(mask), length)), mask], dim=1)


def prepended(model, prompt, ids, mask=None):
    """Return the logits at the text of a causal model that reads the prompt as ordinary positions."""
    length = prompt.shape[-2]
    mask = wider(torch.ones_like(ids) if mask is None else mask, length)
    embeddings = behind(prompt, ids, model)
    return model(inputs_embeds=embeddings, attention_mask=mask, position_ids=positions_of(mask)).logits[:, length:]


def apart(one, other, mask=None):
    """Return the largest difference, at tokens that are no padding."""
    difference = (one.detach().float() - other.detach().float()).abs()
    return float((difference * mask[:, :, None] if mask is not None else difference).max())


def blocks_of(model):
    """Return the blocks of a causal or BERT-like stack."""
    base = model.base_model
    return base.h if hasattr(base, "h") else base.layers if hasattr(base, "layers") else base.encoder.layer


def capture_free(block, states):
    """Note what enters a block, by a plain hook of torch; return the hook."""

    def enter(module, args, kwargs):
        states["hidden"] = args[0] if args else kwargs["hidden_states"]

    return block.register_forward_pre_hook(enter, with_kwargs=True)


def heads_of(model):
    config = model.config
    return getattr(config, "num_key_value_heads", None) or config.num_attention_heads


def key_values(model, length=4, seed=0):
    """Return keys and values for every layer, each of shape (2, length, heads, d_head)."""
    return [normal(2, length, heads_of(model), SIZE, seed=seed + i, scale=1.0) for i in range(LAYERS)]


def cached(model, cache):
    """Return a cache as an argument, by the name that this version of transformers has for it."""
    return {"cache" if "cache" in signature(model.base_model.forward).parameters else "past_key_values": cache}


def made_of(model):
    """Return everything of a model that attaching may touch, to compare before and after."""
    tensors = {name: (id(t), t.detach().clone()) for name, t in model.state_dict(keep_vars=True).items()}
    hooks = {
        name: (
            len(m._forward_hooks),
            len(m._forward_pre_hooks),
            m.training,
            sorted(vars(m)),
            id(vars(m).get("forward")),
        )
        for name, m in model.named_modules()
    }
    gradients = {name: (p.requires_grad, p.grad) for name, p in model.named_parameters()}
    configs = [m.config._attn_implementation for m in model.modules() if hasattr(m, "config")]
    checkpoints = [vars(m).get("_gradient_checkpointing_func") for m in model.modules()]
    return tensors, hooks, gradients, configs, checkpoints


@contextmanager
def left_as_it_was(model):
    """Assert that a model is afterwards what it was before, to the bit."""
    before = made_of(model)
    try:
        yield
    finally:
        after = made_of(model)
        assert before[0].keys() == after[0].keys()
        assert all(after[0][n][0] == id_ and torch.equal(after[0][n][1], t) for n, (id_, t) in before[0].items())
        assert before[1:] == after[1:]


class Scaled(torch.nn.Module):
    """Scales channels by different factors: a layer norm hides a constant shift or scale."""

    def __init__(self, width=WIDTH, seed=0):
        super().__init__()
        self.by = torch.nn.Parameter(1 + normal(width, seed=seed))
        self.seen = []

    def forward(self, hidden, spans, batch):
        self.seen.append((hidden.shape, spans, batch))
        return hidden * self.by


class Broken(torch.nn.Module):
    """Raises in the middle of a forward pass."""

    def forward(self, *_):
        raise RuntimeError("broken on purpose")
