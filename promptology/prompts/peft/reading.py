"""From a PEFT folder to what was learned."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from promptology.data.items import Field, Signature
from promptology.errors import ArtifactError
from promptology.prompts.arrays import Array, Tensors, shape_text
from promptology.prompts.learned import Learned, Part, Readout
from promptology.prompts.peft.config import (
    CAUSAL,
    CLASSES,
    DEPT,
    LORA,
    P_TUNING,
    PREFIX,
    PROMPT,
    SEQ2SEQ,
    AdapterConfig,
    checked,
)
from promptology.prompts.peft.folder import read_config, read_tensors
from promptology.prompts.peft.layout import Size, shown_to, size_of, split
from promptology.prompts.sites import SiteModule, SiteTensors, Weights

ROWS = "prompt_embeddings"
_METHODS = {PROMPT: "prompt-tuning", P_TUNING: "p-tuning", PREFIX: "prefix-tuning", LORA: "lora", DEPT: "dept"}
_LORA_KEY = re.compile(r"base_model\.model\.(?P<path>.+)\.lora_(?P<half>[AB])(?:\.default)?\.weight")


def read_peft(folder: str | Path, signature: Signature | None = None, model: Any = None) -> Learned:
    """Return what a PEFT folder holds: prompt tuning, P-tuning, prefix tuning, LoRA, or the DePT authors' variant.

    Keys and shapes are those of `peft` 0.21. A folder says nothing of a task: without a `signature` it takes one text
    field and gives a text, and a task's own signature is taken where it is bound to one. Language models get the
    readout `answer`; other adapters have none, which is enough for `pt.attach`. `model`: a transformers model or its
    config, for a config that leaves out the layers or heads of a prefix. Trained heads come as weights.
    Raises ArtifactError, one line, where the folder is incomplete, unsafe, or says what cannot be shown as it was.
    """
    root = Path(folder)
    doc = read_config(root)
    try:
        config = checked(doc)
        parts = _READ[config.type](config, read_tensors(root), model)
    except ArtifactError as error:
        raise ArtifactError(f"{root}: {error}") from None
    if config.task in (CAUSAL, SEQ2SEQ):
        parts.append(Readout("answer"))
    about = {"type": config.type, "task": config.task, "base": str(doc.get("base_model_name_or_path") or "")}
    return Learned(
        tuple(parts),
        signature or Signature((Field("text"),), "text"),
        {"model": "differentiable"},
        _METHODS[config.type],
        {"peft": about},
    )


def _read_prompt(config: AdapterConfig, tensors: Tensors, model: Any) -> list[Part]:
    parts: list[Part] = [SiteTensors(_input(config), _rows(config, tensors))]
    return parts + _saved_modules(config, tensors, {ROWS}, "base_model.")


def _input(config: AdapterConfig) -> str:
    return "encoder.input" if config.task == SEQ2SEQ else "input"


def _rows(config: AdapterConfig, tensors: Tensors) -> Array:
    """Return the virtual tokens. Of a model with an encoder twice as many may be stored; peft uses the first half."""
    rows = _matrix(tensors, ROWS)
    length, width = config.needed("num_virtual_tokens"), config.number("token_dim")
    stacks = config.number("num_transformer_submodules") or (2 if len(rows) == 2 * length else 1)
    if stacks > (2 if config.task == SEQ2SEQ else 1):
        raise ArtifactError(f"num_transformer_submodules is {stacks} for task_type {config.task or 'none'}")
    wanted = f"num_virtual_tokens {length}" + (" in each of two stacks" if stacks == 2 else "")
    if len(rows) != length * stacks:
        raise ArtifactError(f"{ROWS} has {len(rows)} rows; {wanted} needs {length * stacks}")
    if width is not None and rows.shape[1] != width:
        raise ArtifactError(f"{ROWS} is {rows.shape[1]} wide; token_dim says {width}")
    return rows[:length]


def _read_prefix(config: AdapterConfig, tensors: Tensors, model: Any) -> list[Part]:
    rows, size = _matrix(tensors, ROWS), _size(config, model)
    length, stacks = config.needed("num_virtual_tokens"), config.number("num_transformer_submodules")
    columns = 2 * size.layers * size.heads * size.width
    if rows.shape != (length, columns):
        raise ArtifactError(
            f"{ROWS} has shape {shape_text(rows)}; {length} virtual tokens, {size.layers} layers and {size.heads} "
            f"heads of {size.width} need {length} x {columns}"
        )
    if (stacks or 2) != 2 and config.task == SEQ2SEQ:
        raise ArtifactError(
            f"num_transformer_submodules is {stacks}: peft then lets cross-attention see the decoder's own keys, which "
            "is not a prefix; train it with 2"
        )
    layers = split(rows, size)
    if config.task == SEQ2SEQ:
        layers = [layers[shown_to(n, size.layers)] for n in range(size.layers)]
    stack = "decoder." if config.task == SEQ2SEQ else ""
    parts: list[Part] = [SiteTensors(f"{stack}key_value[{n}]", layer) for n, layer in enumerate(layers)]
    return parts + _saved_modules(config, tensors, {ROWS}, "base_model.")


def _size(config: AdapterConfig, model: Any) -> Size:
    """Return layers, heads and width of a head; what the config leaves out is the model's."""
    told = {name: config.number(name) for name in ("num_layers", "num_attention_heads", "token_dim")}
    if model is None and None in told.values():
        name = next(name for name, value in told.items() if value is None)
        raise ArtifactError(f"{name} is missing; give the model it belongs to: pt.load(folder, model=hf_model)")
    whole = Size(1, 1, 1) if model is None else size_of(model)
    layers, heads = told["num_layers"] or whole.layers, told["num_attention_heads"] or whole.heads
    width = told["token_dim"] or whole.heads * whole.width
    if width % heads:
        raise ArtifactError(f"token_dim {width} is no multiple of num_attention_heads {heads}")
    return Size(layers, heads, width // heads)


def _read_lora(config: AdapterConfig, tensors: Tensors, model: Any) -> list[Part]:
    found = {key: match for key in tensors if (match := _LORA_KEY.fullmatch(key))}
    if not found:
        raise ArtifactError("there are no tensors base_model.model.<path>.lora_A.weight and lora_B.weight")
    arrays = {f"{match['path']}.{match['half']}": tensors[key] for key, match in found.items()}
    alpha = config.doc.get("lora_alpha", 8)
    options: dict[str, Any] = {"alpha": alpha}
    if config.doc.get("fan_in_fan_out"):
        options["fan_in_fan_out"] = True
    named = config.patterns("alpha_pattern")
    paths = Weights("lora", options, arrays).paths
    alphas = {path: _by_pattern(named, path, alpha) for path in paths}
    if differing := {path: value for path, value in alphas.items() if value != alpha}:
        options["alphas"] = differing
    ranks, rank = config.patterns("rank_pattern"), config.number("r") or 8
    for path in paths:
        wanted = _by_pattern(ranks, path, rank)
        if len(arrays[f"{path}.A"]) != wanted:
            raise ArtifactError(f"the config gives {path} rank {wanted}; its tensors have {len(arrays[f'{path}.A'])}")
    parts: list[Part] = [Weights("lora", options, arrays)]
    return parts + _saved_modules(config, tensors, {*found}, "base_model.model.")


def _by_pattern(patterns: Mapping[str, float], path: str, otherwise: float) -> float:
    """Return the number of the first pattern that matches the end of a path, as peft reads them."""
    for pattern, value in patterns.items():
        try:
            if re.match(rf"(.*\.)?({pattern})$", path):
                return value
        except re.error as error:
            raise ArtifactError(f"pattern {pattern!r} is no regular expression: {error}") from None
    return otherwise


def _read_dept(config: AdapterConfig, tensors: Tensors, model: Any) -> list[Part]:
    """Read the short prompt and low-rank offsets that the authors of DePT save (their fork of peft; scale alpha/√r)."""
    names = {half: f"prompt_encoder.lora_embedding_{half}" for half in "AB"}
    low = {half: _matrix(tensors, name) for half, name in names.items()}
    rank, width = low["B"].shape
    if low["A"].shape[1] != rank:
        raise ArtifactError(f"{names['A']} is {shape_text(low['A'])}, {names['B']} {shape_text(low['B'])}: two ranks")
    alpha = config.doc.get("lora_alpha")
    if not isinstance(alpha, int | float) or not math.isfinite(alpha):
        raise ArtifactError(f"lora_alpha is {alpha!r}; it must be a number")
    prompt = SiteTensors(_input(config), _rows(config, tensors))
    if prompt.values.shape[1] != width:
        raise ArtifactError(f"{ROWS} is {prompt.values.shape[1]} wide, the offsets are {width}")
    offsets = SiteModule(prompt.site, "offsets", {"scale": alpha / math.sqrt(rank)}, low)
    parts: list[Part] = [prompt, offsets]
    return parts + _saved_modules(config, tensors, {ROWS, *names.values()}, "base_model.")


def _saved_modules(config: AdapterConfig, tensors: Tensors, done: set[str], prefix: str) -> list[Part]:
    """Return the weights of modules that were trained beside the adapter, a classification head for one."""
    rest = {key: value for key, value in tensors.items() if key not in done}
    for key in rest:
        if ".lora_" in key:
            raise ArtifactError(
                f"tensor {key[:100]!r} is a part of LoRA that is not read: only linear layers' lora_A, lora_B"
            )
        if not key.startswith(prefix):
            raise ArtifactError(f"unexpected tensor {key[:100]!r}")
    arrays = {key.removeprefix(prefix): value for key, value in rest.items()}
    if config.type in (PROMPT, P_TUNING, DEPT) and config.task == CLASSES:
        for name in arrays:
            if name.split(".")[0] == "classifier":
                raise ArtifactError(
                    f"{name!r} is the head of an encoder: in peft it reads the first virtual token, where here it "
                    "would read the text's first token; LoRA has no such difference"
                )
    return [Weights("full", {"modules": list(config.saved_modules)}, arrays)] if arrays else []


def _matrix(tensors: Tensors, name: str) -> Array:
    if name not in tensors:
        there = ", ".join(list(tensors)[:3]) or "nothing"
        raise ArtifactError(f"there is no tensor {name!r}, only {there[:150]}")
    if tensors[name].ndim != 2:
        raise ArtifactError(f"{name} has shape {shape_text(tensors[name])}; it must have two dimensions")
    return tensors[name]


_READ: dict[str, Callable[[AdapterConfig, Tensors, Any], list[Part]]] = {
    PROMPT: _read_prompt,
    P_TUNING: _read_prompt,
    PREFIX: _read_prefix,
    LORA: _read_lora,
    DEPT: _read_dept,
}
