"""From what was learned to a PEFT folder."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from promptology.errors import ArtifactError, UsageError
from promptology.prompts.arrays import Tensors
from promptology.prompts.injected import INSIDE
from promptology.prompts.learned import Demonstrations, Learned, Readout, Text, show_inside
from promptology.prompts.peft.config import CAUSAL, FEATURES, LORA, P_TUNING, PREFIX, PROMPT, SEQ2SEQ, TASKS
from promptology.prompts.peft.folder import CONFIG, TENSORS
from promptology.prompts.peft.layout import join, spread
from promptology.prompts.peft.reading import ROWS
from promptology.prompts.sites import SiteTensors, Weights, read_site

VERSION = "0.21.2"
"""The version of peft whose fields and keys are written, and against which round trips are tested."""


class Exported(NamedTuple):
    """A folder that was written, and what could not go with it, a line each."""

    folder: Path
    notes: tuple[str, ...]


class Adapter(NamedTuple):
    """Fields of its own and tensors of one type of adapter."""

    fields: Mapping[str, Any]
    tensors: Tensors


def write_peft(learned: Learned, folder: str | Path, base: str = "", task_type: str = "") -> Exported:
    """Write a folder that `peft.PeftModel.from_pretrained(model, folder)` loads, with the same logits.

    `base`: name or folder of the model, recorded for whoever loads it. `task_type`: as `peft` names tasks; by default
    that of an imported folder, else SEQ_2_SEQ_LM where a part stands in an encoder or decoder, FEATURE_EXTRACTION
    where an embedding or a head is read, and CAUSAL_LM. Texts and readouts have no place in such a folder: they stand
    in its README.md and in the notes. Raises UsageError where `peft` has no type for what was learned, or the folder
    is not empty.
    """
    adapter = _adapter(learned)
    about = learned.meta.get("peft", {})
    task = task_type or about.get("task") or _task(learned)
    if task not in TASKS:
        raise UsageError(f"unknown task type {task!r}; there are {', '.join(TASKS)}")
    base = base or about.get("base", "")
    common = {
        "task_type": task,
        "auto_mapping": None,
        "base_model_name_or_path": base or None,
        "revision": None,
        "inference_mode": True,
        "peft_version": VERSION,
    }
    notes = _left_behind(learned)
    files = {
        CONFIG: json.dumps({**common, **adapter.fields}, indent=2, sort_keys=True),
        "README.md": _readme(learned, base, notes),
    }
    arrays = {key: np.ascontiguousarray(value, np.float32) for key, value in adapter.tensors.items()}
    return Exported(_write(Path(folder), files, arrays), tuple(notes))


def _adapter(learned: Learned) -> Adapter:
    inside: list[Any] = [part for part in learned.parts if isinstance(part, INSIDE)]
    if not inside:
        raise UsageError("export to peft needs learned vectors or weights; this prompt has none, so export it as text")
    tensors = [part for part in inside if isinstance(part, SiteTensors) and part.tokens is None]
    lora = [part for part in inside if isinstance(part, Weights) and part.type == "lora"]
    full = [part for part in inside if isinstance(part, Weights) and part.type == "full"]
    names = {read_site(part.site).place for part in tensors}
    count = (len(inside) - len(full), len(tensors), len(lora))
    if all(part.role == "model" for part in inside):
        if count == (1, 0, 1):
            return _with_modules(_lora(lora[0]), full, "base_model.model.")
        if count == (1, 1, 0) and tensors[0].site in ("input", "encoder.input", "text.input"):
            return _with_modules(_prompt(learned, tensors[0]), full, "base_model.")
        if count == (len(tensors), len(tensors), 0) and names == {"key_value"}:
            return _with_modules(_prefix(tensors), full, "base_model.")
    what = "; ".join(show_inside([part.summary() for part in inside]))
    raise UsageError(
        f"peft has no type for this combination ({what}); it takes one prompt at the input, keys and values of all "
        "layers, or lora"
    )


def _prompt(learned: Learned, part: SiteTensors) -> Adapter:
    length, width = part.values.shape
    fields: dict[str, Any] = {
        "peft_type": PROMPT,
        "num_virtual_tokens": length,
        "token_dim": width,
        "num_transformer_submodules": 1,
        "num_attention_heads": None,
        "num_layers": None,
        "modules_to_save": None,
    }
    if learned.method == "p-tuning":
        # The vectors are what the prompt encoder returned, so these settings of it have nothing left to act on.
        own = {"peft_type": P_TUNING, "encoder_reparameterization_type": "MLP", "encoder_hidden_size": width}
        own |= {"encoder_num_layers": 2, "encoder_dropout": 0.0}
    else:
        own = {"prompt_tuning_init": "RANDOM", "prompt_tuning_init_text": None, "tokenizer_name_or_path": None}
    return Adapter({**fields, **own}, {ROWS: part.values})


def _prefix(parts: Sequence[SiteTensors]) -> Adapter:
    stacks = sorted({read_site(part.site).stack for part in parts})
    if stacks not in ([""], ["text"], ["decoder"]):
        shown = ", ".join(stacks)
        raise UsageError(f"peft shows a prefix to one stack, of an encoder-decoder to its decoder; this has {shown}")
    by_layer = {read_site(part.site).layer: part.values for part in parts}
    layers = [by_layer[n] for n in range(len(parts)) if n in by_layer]
    shapes = {layer.shape for layer in layers}
    if len(layers) != len(parts) or len(shapes) != 1:
        raise UsageError("peft takes keys and values of one shape for every layer from 0 on; these leave layers out")
    behind = stacks == ["decoder"]
    try:
        rows = join(spread(layers) if behind else layers)
    except ArtifactError as error:
        raise UsageError(str(error)) from None
    _, length, heads, width = layers[0].shape
    fields = {
        "peft_type": PREFIX,
        "num_virtual_tokens": length,
        "token_dim": heads * width,
        "num_transformer_submodules": 2 if behind else 1,
        "num_attention_heads": heads,
        "num_layers": len(layers),
        "modules_to_save": None,
        "encoder_hidden_size": heads * width,
        "prefix_projection": False,
        "init_weights": None,
    }
    return Adapter(fields, {ROWS: rows})


def _lora(part: Weights) -> Adapter:
    alpha = part.options.get("alpha")
    ranks = {path: len(part.arrays[f"{path}.A"]) for path in part.paths}
    rank = max(set(ranks.values()), key=list(ranks.values()).count)
    alphas = {path: part.alpha(path) for path in part.paths}
    common = alphas[part.paths[0]] if alpha is None else alpha
    fields = {
        "peft_type": LORA,
        "r": rank,
        "lora_alpha": common,
        "lora_dropout": 0.0,
        "target_modules": sorted(part.paths),
        "fan_in_fan_out": bool(part.options.get("fan_in_fan_out", False)),
        "bias": "none",
        "init_lora_weights": True,
        "use_rslora": False,
        "use_dora": False,
        "rank_pattern": {_literal(path): n for path, n in ranks.items() if n != rank},
        "alpha_pattern": {_literal(path): a for path, a in alphas.items() if a != common},
        "modules_to_save": None,
    }
    keys = {half: f"base_model.model.{{}}.lora_{half}.weight" for half in "AB"}
    tensors = {keys[half].format(path): part.arrays[f"{path}.{half}"] for path in part.paths for half in "AB"}
    return Adapter(fields, tensors)


def _literal(path: str) -> str:
    """Return a path as a pattern that matches it alone: peft reads names of modules as regular expressions."""
    return "^" + path.replace(".", r"\.")


def _with_modules(adapter: Adapter, full: Sequence[Weights], prefix: str) -> Adapter:
    """Add weights that were trained beside the adapter; peft keeps whole modules by name."""
    if not full:
        return adapter
    arrays = full[0].arrays
    modules = [m for m in full[0].options.get("modules") or [] if any(f".{m}." in f".{name}" for name in arrays)]
    stray = [name for name in arrays if not any(f".{m}." in f".{name}" for m in modules)]
    if stray:
        raise UsageError(
            f"peft keeps weights of whole modules beside an adapter; {stray[0]!r} stands in none that is named in the "
            "part's option modules"
        )
    tensors = {**adapter.tensors, **{prefix + name: value for name, value in arrays.items()}}
    return Adapter({**adapter.fields, "modules_to_save": modules}, tensors)


def _task(learned: Learned) -> str:
    stacks = {read_site(part.site).stack for part in learned.parts if isinstance(part, SiteTensors)}
    if {"encoder", "decoder"} & stacks:
        return SEQ2SEQ
    readout = learned.part(Readout)
    return CAUSAL if readout is None or readout.type in ("answer", "label-likelihood") else FEATURES


def _left_behind(learned: Learned) -> list[str]:
    text, shown, readout = learned.part(Text), learned.part(Demonstrations), learned.part(Readout)
    notes = []
    if text and (text.instruction or text.system):
        notes.append("the text of the prompt is not part of the adapter: put it before the input; README.md holds it")
    if shown and shown.examples:
        notes.append(f"{len(shown.examples)} demonstrations are not part of the adapter")
    if readout and readout.arrays:
        notes.append("the trained head is not part of the adapter: it reads hidden states, which peft returns as such")
    return notes


def _readme(learned: Learned, base: str, notes: Sequence[str]) -> str:
    head = ["---", *([f"base_model: {json.dumps(base)}"] if base else []), "library_name: peft", "---", ""]
    body = [f"# {learned.method or 'prompt'}", "", "Exported by promptology.", ""]
    body += [f"- {note}" for note in notes] + ([""] if notes else [])
    text = learned.part(Text)
    for name, content in (("System prompt", text.system), ("Instruction", text.instruction)) if text else ():
        if content:
            body += [f"## {name}", "", *("    " + line for line in content.splitlines()), ""]
    return "\n".join([*head, *body])


def _write(target: Path, files: Mapping[str, str], arrays: Tensors) -> Path:
    """Write the folder whole or not at all."""
    from safetensors.numpy import save_file

    if target.exists() and not (target.is_dir() and not any(target.iterdir())):
        raise UsageError(f"{target} exists and is not an empty folder; choose another")
    staging = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
        for name, content in files.items():
            (staging / name).write_text(content + "\n", encoding="utf-8")
        save_file(arrays, staging / TENSORS, metadata={"format": "pt"})
        staging.chmod(0o755)
        os.replace(staging, target)
    except OSError as error:
        raise UsageError(f"cannot write {target}: {error.strerror}") from None
    finally:
        if staging is not None:
            shutil.rmtree(staging, ignore_errors=True)
    return target
