"""The state of a training as a file: tensors in safetensors, everything else as JSON in its header."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from promptology.run.checkpoints import States

FORMAT = 1


class Stored(NamedTuple):
    """What a state file holds."""

    doc: dict[str, Any]
    tensors: dict[str, Any]


def write(states: States, path: Path, doc: Mapping[str, Any], tensors: Mapping[str, Any]) -> None:
    """Write a state in one move; raises OSError where the disk refuses."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    # Copies: safetensors refuses tensors that share their memory, as views and tied weights do.
    plain = {name: t.detach().to("cpu", copy=True).contiguous() for name, t in tensors.items()}
    text = json.dumps({**doc, "format": FORMAT, "sum": _sum(plain)}, separators=(",", ":"), default=_plain)
    with states.writing(path) as draft:
        try:
            save_file(plain, draft, {"state": text, "text_sum": str(zlib.crc32(text.encode()))})
        except SafetensorError as error:
            raise OSError(str(error)) from None


def _plain(value: Any) -> Any:
    """Return a number of numpy or torch as Python's own, which is what stands in the history of a continued run."""
    return value.item() if hasattr(value, "item") else str(value)


def read(path: Path) -> Stored | None:
    """Read a state back; None where there is none. Raises ValueError, one line, where the file is damaged."""
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        return None
    try:
        with safe_open(path, "pt") as file:
            meta = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
        text = meta["state"]
        doc = json.loads(text)
        whole = meta["text_sum"] == str(zlib.crc32(text.encode())) and doc["sum"] == _sum(tensors)
    except (OSError, SafetensorError, KeyError, ValueError, TypeError) as error:
        raise ValueError(" ".join(f"{type(error).__name__}: {error}".split())[:120]) from None
    if not whole or doc["format"] != FORMAT:
        raise ValueError("its checksum is wrong" if doc["format"] == FORMAT else "another version wrote it")
    return Stored(doc, tensors)


def _sum(tensors: Mapping[str, Any]) -> int:
    import torch

    total = 0
    for name in sorted(tensors):
        data = tensors[name].reshape(-1).view(torch.uint8) if tensors[name].numel() else tensors[name]
        total = zlib.crc32(data.numpy(), zlib.crc32(name.encode(), total))
    return total


def pack_optimizer(optimizer: Any, parameters: Sequence[Any]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return an optimiser's state: its tensors by name, and its plain numbers by parameter."""
    import torch

    tensors: dict[str, Any] = {}
    numbers: list[dict[str, Any]] = []
    for i, p in enumerate(parameters):
        state = optimizer.state.get(p, {})
        tensors.update((f"optimizer.{i}.{k}", v) for k, v in state.items() if isinstance(v, torch.Tensor))
        numbers.append({k: v for k, v in state.items() if not isinstance(v, torch.Tensor)})
    return tensors, numbers


def unpack_optimizer(
    optimizer: Any, parameters: Sequence[Any], tensors: Mapping[str, Any], numbers: Sequence[Mapping[str, Any]]
) -> None:
    """Put back what `pack_optimizer` returned; a step count stays where its optimiser wants it."""
    fused = any(group.get("fused") for group in optimizer.param_groups)
    for i, p in enumerate(parameters):
        found: dict[str, Any] = dict(numbers[i])
        start = f"optimizer.{i}."
        for name, tensor in tensors.items():
            if name.startswith(start):
                key = name.removeprefix(start)
                found[key] = tensor.clone() if key == "step" and not fused else tensor.to(p.device, copy=True)
        if found:
            optimizer.state[p] = found
