"""Prompt folders: prompt.json beside tensors.safetensors, nothing that could run, nothing outside the folder."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from promptology.data.items import Signature
from promptology.errors import ArtifactError, UsageError
from promptology.prompts.arrays import Tensors
from promptology.prompts.learned import Learned
from promptology.prompts.peft import adapters_in, is_peft_folder, read_peft

FORMAT = 1
PROMPT = "prompt.json"
TENSORS = "tensors.safetensors"


def save(learned: Learned, folder: str | Path) -> Path:
    """Write a prompt folder, whole or not at all; an existing prompt folder is replaced.

    Raises UsageError where the target is something else or cannot be written.
    """
    target = Path(folder)
    if target.exists() and not (target.is_dir() and ((target / PROMPT).exists() or not any(target.iterdir()))):
        raise UsageError(f"{target} exists and is not a prompt folder; choose another")
    doc: dict[str, Any] = {"format": FORMAT, **learned.to_json()}
    arrays = {f"{n}.{name}": value for n, part in enumerate(learned.parts) for name, value in part.tensors().items()}
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    except OSError as error:
        raise UsageError(f"cannot write {target}: {error.strerror}") from None
    try:
        if arrays:
            from safetensors.numpy import save_file

            save_file(arrays, staging / TENSORS)
            doc["tensors"] = {"file": TENSORS, "sha256": _sha256(staging / TENSORS)}
        (staging / PROMPT).write_text(json.dumps(doc, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        if arrays:
            shutil.copymode(staging / PROMPT, staging / TENSORS)  # safetensors writes for the owner alone
        staging.chmod(0o755)
        if target.exists():
            old = Path(tempfile.mkdtemp(prefix=f".{target.name}-old-", dir=target.parent))
            os.replace(target, old / "prompt")
            os.replace(staging, target)
            shutil.rmtree(old)
        else:
            os.replace(staging, target)
    except OSError as error:
        raise UsageError(f"cannot write {target}: {error.strerror}") from None
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return target


def is_prompt_folder(folder: str | Path) -> bool:
    """Whether `load` reads this folder: one of ours, or one of PEFT's."""
    try:
        return (Path(folder) / PROMPT).is_file() or is_peft_folder(folder)
    except OSError:  # a text that is too long for a name
        return False


def load(folder: str | Path, signature: Signature | None = None, model: Any = None) -> Learned:
    """Read a prompt folder, or a PEFT folder (see `promptology.prompts.peft.read_peft`).

    `signature`: fields and outputs instead of those that were saved; a PEFT folder has none, and is taken for one text
    field in and a text out. `model`: a transformers model or its config, for a PEFT folder whose config leaves out
    sizes. Raises ArtifactError where the folder is incomplete, altered or points outside itself.
    """
    root = Path(folder)
    path = root / PROMPT
    if not path.is_file():
        if is_peft_folder(root) or adapters_in(root):
            return read_peft(root, signature, model)
        raise ArtifactError(f"{root} is not a prompt folder: it has no {PROMPT}, and no adapter_config.json of PEFT")
    _inside(root, path)
    try:
        doc = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError, RecursionError) as error:
        raise ArtifactError(f"{path} cannot be read: {error}") from None
    if not isinstance(doc, dict) or doc.get("format") != FORMAT:
        found = doc.get("format") if isinstance(doc, dict) else None
        raise ArtifactError(f"{path} has format {found!r}; this version reads {FORMAT}")
    try:
        learned = Learned.from_json(doc, _read_tensors(root, doc.get("tensors")))
    except ArtifactError as error:
        raise ArtifactError(f"{path}: {error}") from None
    return learned if signature is None else replace(learned, signature=signature)


def _read_tensors(root: Path, entry: Any) -> dict[str, Tensors]:
    if entry is None:
        return {}
    if not isinstance(entry, dict) or not isinstance(entry.get("file"), str):
        raise ArtifactError("the entry 'tensors' names no file")
    path = root / entry["file"]
    _inside(root, path)
    if path.suffix != ".safetensors":
        raise ArtifactError(f"tensors stand in {entry['file']!r}; only .safetensors files are read")
    if not path.is_file():
        raise ArtifactError(f"{entry['file']} is missing")
    if _sha256(path) != entry.get("sha256"):
        raise ArtifactError(f"{entry['file']} was altered after it was saved (its sha256 differs)")
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        arrays = load_file(path)
    except (SafetensorError, ValueError, OSError) as error:
        raise ArtifactError(f"{entry['file']} is not a readable safetensors file: {error}") from None
    tensors: dict[str, Tensors] = {}
    for name, value in arrays.items():
        part, _, rest = name.partition(".")
        tensors.setdefault(part, {})[rest] = value
    return tensors


def _inside(root: Path, path: Path) -> None:
    """Refuse a file that resolves outside the folder, through .. or through a link."""
    if not path.resolve().is_relative_to(root.resolve()):
        raise ArtifactError(f"{path.name} points outside the prompt folder; refused")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
