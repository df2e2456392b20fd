"""Exporting what a prompt makes of the classes: the matrix that any program can classify image vectors with."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from promptology.data.items import Signature
from promptology.errors import UsageError
from promptology.models.opening import model as open_model
from promptology.predict import bind
from promptology.prompts.learned import Learned
from promptology.run.handles import Handle
from promptology.run.meter import Meter
from promptology.run.store import memory_store


def export_features(learned: Learned, model: Any, out: str | Path, *, signature: Signature | None = None) -> Path:
    """Write the class-feature matrix of a prompt for images as a safetensors file, and return its path.

    Tensors, float32: `features`, shape (classes, dimension), unit rows; `scale` and `bias`, shape (1,): the logits of a
    unit image vector v are scale * features @ v + bias. Metadata: `classes` (a JSON list, in the order of the rows),
    `model` and `identity` (what tells the model from another), `prompt`. `signature`: other classes than those of the
    prompt. Raises UsageError where the prompt has no features of classes, or depends on each image, or nothing can be
    written.
    """
    handle = Handle(Meter(memory_store()), "model", open_model(model))
    predictor = bind(learned, handle, signature=signature)
    make = getattr(predictor, "class_features", None)
    if make is None:
        raise UsageError(
            f"this prompt has no matrix of class features (readout {learned.readout.type}); apply it with "
            "`promptology apply`"
        )
    towers = handle.towers()
    arrays = {
        "features": np.ascontiguousarray(make(), np.float32),
        "scale": np.array([towers.scale], np.float32),
        "bias": np.array([towers.bias], np.float32),
    }
    metadata = {
        "classes": json.dumps(list(predictor.signature.class_names), ensure_ascii=False),
        "model": handle.name,
        "identity": handle.identity,
        "prompt": learned.as_text(),
    }
    from safetensors.numpy import save

    target = Path(out)
    draft = target.with_name(f".{target.name}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        draft.write_bytes(save(arrays, metadata))
        os.replace(draft, target)
    except OSError as error:
        raise UsageError(f"cannot write {target}: {error.strerror}") from None
    return target
