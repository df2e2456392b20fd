"""How `peft` lays out a prefix: one row of numbers per virtual token, cut into keys and values of every layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from promptology.errors import ArtifactError
from promptology.prompts.arrays import Array


class Size(NamedTuple):
    """Sizes of a model as a prefix sees them: layers, key/value heads, width of a head."""

    layers: int
    heads: int
    width: int


def split(rows: Array, size: Size) -> list[Array]:
    """Return keys and values by layer, each (2, length, heads, width), of rows (length, layers * 2 * heads * width)."""
    parted = rows.reshape(len(rows), size.layers, 2, size.heads, size.width)
    return [np.ascontiguousarray(parted[:, n].transpose(1, 0, 2, 3)) for n in range(size.layers)]


def join(layers: Sequence[Array]) -> Array:
    """Return the rows of keys and values by layer: the inverse of `split`."""
    parted = np.stack([layer.transpose(1, 0, 2, 3) for layer in layers], axis=1)
    return np.ascontiguousarray(parted.reshape(len(parted), -1), np.float32)


def shown_to(layer: int, layers: int) -> int:
    """Return which stored layer a layer of a decoder that reads an encoder is shown.

    For such models `peft` (0.21) writes the stored keys and values twice in a row, cuts the result into fours and
    gives the first two of each four to a layer's self-attention; the other two, meant for cross-attention, it drops.
    So layer i sees number 2 i modulo the number of layers, and of an even number only every second is ever seen.
    """
    return 2 * layer % layers


def spread(layers: Sequence[Array]) -> list[Array]:
    """Return keys and values as they must be stored, so that each layer of a decoder is shown its own.

    Raises ArtifactError where that cannot be: of an even number of layers, two must share theirs.
    """
    stored: dict[int, Array] = {}
    for n, layer in enumerate(layers):
        at = shown_to(n, len(layers))
        if at in stored and not np.array_equal(stored[at], layer):
            raise ArtifactError(
                f"peft shows layers {n - len(layers) // 2} and {n} of a decoder behind an encoder the same keys and "
                "values where the number of layers is even; these differ, so no PEFT folder can hold this prefix"
            )
        stored[at] = layer
    return [stored.get(n, np.zeros_like(layers[0])) for n in range(len(layers))]


def size_of(model: Any) -> Size:
    """Return the sizes of a model, of its config or of a config as a mapping; raises ArtifactError without them."""
    body = model.frozen().model if hasattr(model, "frozen") else model
    config = getattr(body, "config", body)
    doc: Mapping[str, Any] = config.to_dict() if hasattr(config, "to_dict") else config
    if not isinstance(doc, Mapping):
        raise ArtifactError(f"model= takes a transformers model or its config, not a {type(model).__name__}")
    doc = doc.get("text_config") or doc
    layers = _first(doc, "num_decoder_layers", "num_hidden_layers", "num_layers", "n_layer", "decoder_layers")
    width = _first(doc, "hidden_size", "n_embd", "d_model")
    heads = _first(doc, "num_attention_heads", "n_head", "num_heads", "decoder_attention_heads")
    of_head = doc.get("head_dim") or doc.get("d_kv") or width // heads
    return Size(layers, int(doc.get("num_key_value_heads") or heads), int(of_head))


def _first(doc: Mapping[str, Any], *names: str) -> int:
    for name in names:
        if isinstance(doc.get(name), int):
            return int(doc[name])
    raise ArtifactError(f"the model's config has none of {', '.join(names)}")
