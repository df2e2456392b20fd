"""From a folder to a frozen torch model on a device; every fault is one line."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from promptology.errors import ModelError, UsageError
from promptology.models.local.folder import (
    NEED_LOCAL,
    NOUNS,
    TOKENIZERS,
    check_code,
    check_whole,
    one_line,
    read_config,
)

DTYPES = {
    "float32": "float32",
    "fp32": "float32",
    "bfloat16": "bfloat16",
    "bf16": "bfloat16",
    "float16": "float16",
    "fp16": "float16",
}
AUTO = {
    "causal": "AutoModelForCausalLM",
    "masked": "AutoModelForMaskedLM",
    "seq2seq": "AutoModelForSeq2SeqLM",
    "encoder": "AutoModel",
    "two-tower": "AutoModel",
}


class Loaded(NamedTuple):
    """A model with its tokenizer."""

    model: Any
    tokenizer: Any


def torch_modules() -> tuple[Any, Any]:
    """Return torch and transformers; raises UsageError that says how to install them."""
    # A progress bar for reading one file only disturbs ours, and threads of the tokenizer warn after a fork.
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    try:
        import torch
        import transformers
    except ImportError:
        raise UsageError(NEED_LOCAL) from None
    transformers.utils.logging.disable_progress_bar()
    return torch, transformers


def pick_device(asked: str) -> Any:
    """Return the torch device: the one asked for, else a GPU where there is one. Raises UsageError where it is not."""
    torch, _ = torch_modules()
    if asked in ("", "auto"):
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(asked)
        torch.empty(1, device=device)
    except Exception as error:  # the back ends raise their own types
        here = ["cpu"] + ["cuda"] * torch.cuda.is_available() + ["mps"] * torch.backends.mps.is_available()
        raise UsageError(f"device {asked!r} cannot be used ({one_line(error)[:80]}); here: {', '.join(here)}") from None
    return device


def pick_dtype(asked: str, device: Any) -> str:
    """Return the name of a dtype: the one asked for, else bfloat16 on a GPU that computes in it, else float32."""
    if asked in ("", "auto"):
        torch, _ = torch_modules()
        fast = device.type == "cuda" and torch.cuda.is_bf16_supported()
        return "bfloat16" if fast else "float32"
    if asked not in DTYPES:
        raise UsageError(f"dtype {asked!r} is not understood; there are float32, bfloat16, float16 and auto")
    return DTYPES[asked]


def load(folder: Path, kind: str, *, device: Any, dtype: str, bits: int = 0, trust_code: bool = False) -> Loaded:
    """Return model and tokenizer of a folder, frozen, in evaluation mode, on its device.

    Weights come from safetensors only. `bits`: 4 or 8 through bitsandbytes, 0 for the dtype as it is. Raises
    ModelError, one line, where a file is missing, cut short or does not fit, UsageError where a setting cannot be used.
    """
    torch, transformers = torch_modules()
    config = read_config(folder)
    if not trust_code:
        check_code(folder, config)
    cannot = f"cannot load {NOUNS[kind]} from {folder}"
    try:
        check_whole(folder)
    except ModelError as error:
        raise ModelError(f"{cannot}: {error}") from None
    if not any((folder / name).is_file() for name in TOKENIZERS):
        raise ModelError(f"{cannot}: it has no tokenizer (tokenizer.json); save the tokenizer beside the model")
    options: dict[str, Any] = {"dtype": getattr(torch, dtype), "trust_remote_code": trust_code, "use_safetensors": True}
    if bits:
        options |= {"quantization_config": quantised(bits, dtype), "device_map": {"": device}}
    try:
        with _quietly():
            tokenizer = transformers.AutoTokenizer.from_pretrained(folder, trust_remote_code=trust_code)
            auto = getattr(transformers, AUTO[kind])
            model, info = auto.from_pretrained(folder, output_loading_info=True, **options)
        if not bits:
            model.to(device)
    except torch.OutOfMemoryError:
        raise ModelError(f"{cannot}: {device} has not enough memory for it; give bits=4, or another device") from None
    except Exception as error:  # transformers raises many types; the user needs the one line
        raise ModelError(f"{cannot}: {one_line(error)}") from None
    missing = sorted(name for name in info["missing_keys"] if "pooler" not in name)
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise ModelError(f"{cannot}: its weights lack {missing[0]}{more}, which would be random")
    return Loaded(model, tokenizer)


def quantised(bits: int, dtype: str) -> Any:
    """Return the settings of a base held in few bits; raises UsageError where bitsandbytes is missing."""
    torch, transformers = torch_modules()
    if bits not in (4, 8):
        raise UsageError(f"bits is {bits}; there are 4 and 8 (bitsandbytes), and 0 for the dtype as it is")
    try:
        import bitsandbytes  # noqa: F401
    except ImportError:
        raise UsageError(
            f'bits={bits} needs bitsandbytes; install it with pip install "promptology[quantised]"'
        ) from None
    if bits == 8:
        return transformers.BitsAndBytesConfig(load_in_8bit=True)
    return transformers.BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=getattr(torch, dtype)
    )


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Keep what transformers tells about loading away from the terminal; what matters is checked and said by us."""
    log = logging.getLogger("transformers")
    before = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(before)
