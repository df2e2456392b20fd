"""The files of a PEFT folder: adapter_config.json and the adapter's tensors, read so that nothing in them can run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from promptology.errors import ArtifactError
from promptology.prompts.arrays import Tensors

CONFIG = "adapter_config.json"
TENSORS = "adapter_model.safetensors"
LEGACY = "adapter_model.bin"


def is_peft_folder(folder: str | Path) -> bool:
    """Whether a folder holds an adapter."""
    return (Path(folder) / CONFIG).is_file()


def adapters_in(root: Path) -> list[str]:
    """Return the names of the adapters in sub-folders: `peft` puts every adapter but the default one into its own."""
    return sorted(path.parent.name for path in root.glob(f"*/{CONFIG}"))


def read_config(root: Path) -> dict[str, Any]:
    """Return adapter_config.json; raises ArtifactError where it is missing or not a JSON object."""
    path = root / CONFIG
    if not path.is_file():
        if inside := adapters_in(root):
            raise ArtifactError(f"{root} holds the adapters {', '.join(inside)}; give the folder of one of them")
        raise ArtifactError(f"{root} is not a PEFT folder: it has no {CONFIG}")
    check_inside(root, path)
    try:
        doc = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError, RecursionError) as error:
        raise ArtifactError(f"{path} cannot be read: {error}") from None
    if not isinstance(doc, dict):
        raise ArtifactError(f"{path} holds no JSON object")
    return doc


def read_tensors(root: Path) -> Tensors:
    """Return the adapter's tensors by key, as float32 where they are not float16.

    The legacy adapter_model.bin, a torch file, is read with torch's own reader that takes tensors and refuses code.
    Raises ArtifactError where the file is missing, corrupt, outside the folder or holds anything but tensors.
    """
    for name, read in ((TENSORS, _safetensors), (LEGACY, _torch_file)):
        path = root / name
        if path.is_file():
            check_inside(root, path)
            return {str(key): value for key, value in read(path).items()}
    raise ArtifactError(f"{root} holds no tensors: neither {TENSORS} nor {LEGACY}")


def check_inside(root: Path, path: Path) -> None:
    """Refuse a file that resolves outside the folder; links of a Hugging Face cache to its own blobs are fine."""
    target, home = path.resolve(), root.resolve()
    if target.is_relative_to(home):
        return
    if home.parent.name == "snapshots" and target.parent == home.parent.parent / "blobs":
        return
    raise ArtifactError(f"{path.name} points outside the PEFT folder; refused")


def _safetensors(path: Path) -> Tensors:
    from safetensors import SafetensorError, deserialize

    try:
        # The library's numpy reader knows no bfloat16, in which many adapters are saved.
        return {name: _array(name, entry) for name, entry in deserialize(path.read_bytes())}  # type: ignore[no-untyped-call]
    except (SafetensorError, ValueError, OSError) as error:
        raise ArtifactError(f"{path.name} is not a readable safetensors file: {error}") from None


_TYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"}


def _array(name: str, entry: Mapping[str, Any]) -> Any:
    kind = entry["dtype"]
    if kind not in _TYPES:
        raise ArtifactError(f"tensor {name!r} holds {kind}; an adapter holds floats")
    array = np.frombuffer(entry["data"], _TYPES[kind]).reshape(entry["shape"])
    if kind == "BF16":  # the upper half of a float32
        array = (array.astype(np.uint32) << 16).view(np.float32)
    return array


def _torch_file(path: Path) -> Tensors:
    try:
        import torch
    except ImportError:
        raise ArtifactError(f"{path.name} is a torch file and torch is not installed: pip install torch") from None
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises whatever a broken or hostile file leads to
        words = " ".join(str(error).split())[:120]
        raise ArtifactError(f"{path.name} holds more than tensors or is corrupt; refused ({words})") from None
    if not isinstance(found, dict) or not all(isinstance(v, torch.Tensor) for v in found.values()):
        raise ArtifactError(f"{path.name} holds more than named tensors; refused")
    halves = {name: tensor.float() if tensor.dtype != torch.float16 else tensor for name, tensor in found.items()}
    return {str(name): tensor.detach().numpy() for name, tensor in halves.items()}
