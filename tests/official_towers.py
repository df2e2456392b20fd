"""Prompted towers as the authors' code computes them: every text padded to the end, every layer run on every token.

Nothing is shared, cut or kept; a text's feature is read at its end token (CLIP) or its last position (SigLIP).
"""

from __future__ import annotations

import torch
from torch.nn.functional import normalize


def _texts(inner, ids, slots, context, deep, opening):
    """Features (texts, d) of ids padded to all positions; `context` (texts, M, d) and `deep` [(texts, b, d)]."""
    text, clip = inner.text_model, hasattr(inner, "text_projection")
    hidden = text.embeddings.token_embedding(ids)
    rows = []
    for row, some, own in zip(hidden, slots, context, strict=True):
        vectors = list(row)
        for place, vector in zip(some, own, strict=True):
            vectors[place] = vector
        rows.append(torch.stack(vectors))
    hidden = torch.stack(rows) + text.embeddings.position_embedding.weight
    length = ids.shape[1]
    mask = torch.full((length, length), float("-inf")).triu(1)[None, None] if clip else None
    for i, layer in enumerate(text.encoder.layers):
        if 1 <= i <= len(deep):
            own = deep[i - 1]
            hidden = torch.cat([hidden[:, :opening], own, hidden[:, opening + own.shape[1] :]], dim=1)
        hidden = layer(hidden, mask)
    hidden = text.final_layer_norm(hidden)
    if not clip:
        return normalize(text.head(hidden[:, -1]), dim=-1)
    end = text.config.eos_token_id
    ends = ids.argmax(dim=1) if end == 2 else (ids == end).int().argmax(dim=1)
    return normalize(inner.text_projection(hidden[torch.arange(len(ids)), ends]), dim=-1)


def texts(inner, rows, pad, opening, context=None, deep=()):
    """Features of token rows with slots; context and deep prompts (M, d), or (texts, M, d)."""
    length = inner.config.text_config.max_position_embeddings
    ids = torch.tensor([[*row, *[pad] * (length - len(row))] for row in rows.ids])
    n = len(ids)
    slots = rows.slots or [()] * n
    width = inner.config.text_config.hidden_size
    context = torch.zeros(n, 0, width) if context is None else context.expand(n, *context.shape[-2:])
    return _texts(inner, ids, slots, context, [one.expand(n, *one.shape[-2:]) for one in deep], opening)


def texts_per_image(inner, rows, pad, opening, contexts):
    """Features (images, texts, d): a text forward of all texts for every image, in a loop."""
    return torch.stack([texts(inner, rows, pad, opening, context) for context in contexts])


def images(inner, pixels, tokens=None, deep=()):
    """Features of pixels, with learned tokens behind the patches."""
    vision, clip = inner.vision_model, hasattr(inner, "visual_projection")
    hidden = vision.embeddings(pixels)
    patches, n = hidden.shape[1], len(hidden)
    if tokens is not None:
        hidden = torch.cat([hidden, tokens.expand(n, *tokens.shape[-2:])], dim=1)
    if clip:
        hidden = vision.pre_layrnorm(hidden)
    for i, layer in enumerate(vision.encoder.layers):
        if 1 <= i <= len(deep):
            own = deep[i - 1]
            hidden = torch.cat([hidden[:, : hidden.shape[1] - own.shape[-2]], own.expand(n, *own.shape[-2:])], dim=1)
        hidden = layer(hidden, None)
    hidden = vision.post_layernorm(hidden)
    if clip:
        return normalize(inner.visual_projection(hidden[:, 0]), dim=-1)
    return normalize(vision.head(hidden[:, :patches]), dim=-1)
