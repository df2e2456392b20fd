"""What an adapter_config.json says: known fields with their types, and a refusal of what would change the result."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from promptology.errors import ArtifactError

CAUSAL, SEQ2SEQ, CLASSES, FEATURES = "CAUSAL_LM", "SEQ_2_SEQ_LM", "SEQ_CLS", "FEATURE_EXTRACTION"
TASKS = (CAUSAL, SEQ2SEQ, CLASSES, "TOKEN_CLS", "QUESTION_ANS", FEATURES)
PROMPT, P_TUNING, PREFIX, LORA, DEPT = "PROMPT_TUNING", "P_TUNING", "PREFIX_TUNING", "LORA", "PROMPT_TUNING_LORA"
TYPES = (PROMPT, P_TUNING, PREFIX, LORA, DEPT)

# Fields that say how an adapter was trained or found, or that the functions below read.
_COMMON = {
    *("peft_type", "task_type", "auto_mapping", "base_model_name_or_path", "revision", "inference_mode"),
    *("peft_version", "runtime_config", "modules_to_save"),
}
_PROMPTS = {
    *("num_virtual_tokens", "token_dim", "num_transformer_submodules", "num_attention_heads", "num_layers"),
    *("prompt_tuning_init", "prompt_tuning_init_text", "tokenizer_name_or_path", "tokenizer_kwargs"),
    *("encoder_reparameterization_type", "encoder_hidden_size", "encoder_num_layers", "encoder_dropout"),
    *("prefix_projection", "init_weights"),
}
_DEPT = {
    *("r", "lora_alpha", "lora_dropout", "max_length", "hidden_size", "init_lora_weights"),
    *("save_lora_embeddings", "load_lora_embeddings", "load_lora_embedding_B"),
}
_LORA = {
    *("r", "target_modules", "exclude_modules", "lora_alpha", "lora_dropout", "fan_in_fan_out", "bias"),
    *("init_lora_weights", "layers_to_transform", "layers_pattern", "rank_pattern", "alpha_pattern"),
    *("megatron_core", "qalora_group_size", "loftq_config", "eva_config", "ensure_weight_tying", "merge_weights"),
}
_KNOWN = {PROMPT: _PROMPTS, P_TUNING: _PROMPTS, PREFIX: _PROMPTS, DEPT: _PROMPTS | _DEPT, LORA: _LORA}
_MOVES_BASE = ("pissa", "olora", "corda", "loftq", "lora_ga")


@dataclass(frozen=True)
class AdapterConfig:
    """An adapter_config.json whose type and task are known."""

    doc: Mapping[str, Any]

    @property
    def type(self) -> str:
        """Type of the adapter."""
        return str(self.doc["peft_type"])

    @property
    def task(self) -> str:
        """Task that it was trained for, empty where it was not said."""
        return str(self.doc.get("task_type") or "")

    def number(self, name: str, least: int = 1) -> int | None:
        """Return a whole number, None where it is missing; raises ArtifactError for anything else."""
        value = self.doc.get(name)
        if value is None:
            return None
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise ArtifactError(f"{name} is {value!r}; it must be a whole number of at least {least}")
        return value

    def needed(self, name: str, least: int = 1) -> int:
        """Return a whole number; raises ArtifactError where it is missing."""
        value = self.number(name, least)
        if value is None:
            raise ArtifactError(f"{name} is missing")
        return value

    def patterns(self, name: str) -> dict[str, float]:
        """Return numbers by patterns of module names."""
        value = self.doc.get(name) or {}
        if not isinstance(value, dict) or not all(isinstance(v, int | float) for v in value.values()):
            raise ArtifactError(f"{name} must hold numbers by names of modules")
        return value

    @property
    def saved_modules(self) -> tuple[str, ...]:
        """Names of modules whose own weights were saved."""
        value = self.doc.get("modules_to_save") or []
        if not isinstance(value, list) or not all(isinstance(v, str) for v in value):
            raise ArtifactError(f"modules_to_save is {str(value)[:60]}; it must be a list of names")
        return tuple(dict.fromkeys(value))


def checked(doc: Mapping[str, Any]) -> AdapterConfig:
    """Return a config of which everything that changes the result is understood.

    Raises ArtifactError, one line, for an unknown type or task and for a setting that this version does not read.
    """
    kind, task = doc.get("peft_type"), doc.get("task_type")
    if kind not in TYPES:
        named = "peft_type is missing" if kind is None else f"peft_type {str(kind)[:60]!r} is not read"
        raise ArtifactError(f"{named}; this version reads {', '.join(TYPES)}")
    if task is not None and task not in TASKS:
        raise ArtifactError(f"unknown task_type {str(task)[:60]!r}; there are {', '.join(TASKS)}")
    known = _COMMON | _KNOWN[kind]
    for name, value in doc.items():
        if name not in known and value not in (None, False, {}, [], ""):
            raise ArtifactError(f"the config sets {name} to {str(value)[:40]}, which this version does not read")
    if kind == LORA:
        _check_lora(doc)
    return AdapterConfig(doc)


def _check_lora(doc: Mapping[str, Any]) -> None:
    if (bias := doc.get("bias", "none")) != "none":
        raise ArtifactError(f"bias is {bias!r}: trained biases are not read, only bias 'none'")
    start = doc.get("init_lora_weights", True)
    if isinstance(start, str) and start.lower().startswith(_MOVES_BASE):
        raise ArtifactError(f"init_lora_weights {start!r} changes the base model's weights; convert it to plain LoRA")
