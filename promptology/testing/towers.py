"""What contracts use for methods on two-tower models: a few drawn images, a tiny CLIP, and wrappers that count."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from promptology.data.items import Item, Signature
from promptology.data.loaders import load_task
from promptology.data.task import Task
from promptology.models.access import Injected, Vectors
from promptology.testing.fixtures import Watched
from promptology.testing.inside import Counted
from promptology.training.loop import PASSES

SOURCE = "toyland:base?shots=4&validation=3&test=3"
CLASSES, PX, PATCH = 3, 32, 16
WIDTH, IMAGE_WIDTH, JOINT, LAYERS, HEADS, POSITIONS, TOKENS = 24, 32, 16, 2, 2, 40, 400


def image_task() -> Task:
    """Return drawn images of three classes in all splits."""
    whole = load_task(SOURCE)
    classes = whole.signature.classes[:CLASSES]
    splits = {"train": whole.train, "validation": whole.validation, "test": whole.open_test()}
    chosen: dict[str, list[Item]] = {}
    for split, items in splits.items():
        by_class = [[i for i in items if i.target == c.name] for c in classes]
        chosen[split] = [item for group in zip(*by_class, strict=True) for item in group]
    signature = Signature(whole.signature.fields, "class", classes)
    return Task(**chosen, signature=signature, name="images-small")  # type: ignore[arg-type]


def tiny_clip(folder: Path, task: Task) -> Any:
    """Write a CLIP with random weights, and a tokenizer that knows the task's class names, and open it."""
    import torch
    import transformers
    from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers

    from promptology.models.opening import model as open_model

    marks = {"bos_token": "<start>", "eos_token": "<end>"}
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=TOKENS, special_tokens=list(marks.values()), initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator([*task.signature.class_names, "a photo of a"] * 2, trainer)
    ids = [(mark, tokenizer.token_to_id(mark)) for mark in marks.values()]
    tokenizer.post_processor = processors.TemplateProcessing(single="<start> $A <end>", special_tokens=ids)
    whole = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<end>", model_max_length=POSITIONS, **marks
    )
    shape = {"num_hidden_layers": LAYERS, "num_attention_heads": HEADS}
    special = {f"{name[:3]}_token_id": whole.convert_tokens_to_ids(mark) for name, mark in marks.items()}
    text = {"vocab_size": len(whole), "hidden_size": WIDTH, "intermediate_size": 2 * WIDTH, **shape, **special}
    text |= {"max_position_embeddings": POSITIONS, "pad_token_id": whole.pad_token_id}
    vision = {"hidden_size": IMAGE_WIDTH, "intermediate_size": 2 * IMAGE_WIDTH, **shape}
    vision |= {"image_size": PX, "patch_size": PATCH}
    transformers.utils.logging.disable_progress_bar()
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.default_generator.manual_seed(0)
        network = transformers.CLIPModel(
            transformers.CLIPConfig(text_config=text, vision_config=vision, projection_dim=JOINT)
        )
        for parameter in network.parameters():
            if parameter.dim() > 1:
                parameter.normal_(0.0, 0.15)  # the usual 0.02 leaves so small a net nearly constant over its inputs
    network.save_pretrained(folder)
    whole.save_pretrained(folder)
    settings = {"size": {"height": PX, "width": PX}, "crop_size": {"height": PX, "width": PX}, "do_center_crop": True}
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    return open_model(f"hf:{folder}")


class CountingTowers(Counted):
    """A two-tower model that counts its passes where they are made: a text or an image is one.

    With gradients each counts as many as a training item; texts that are read anew for each image count for each.
    """

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Return the vectors of the model underneath."""
        return self._answer(len(texts), lambda: self.model.embed(texts))

    def states(self, texts: Sequence[str], injected: Injected | None = None) -> Vectors:
        """Return the states of the model underneath."""
        return self._answer(len(texts), lambda: self.model.states(texts, injected))

    def text_features(self, texts: Sequence[str], injected: Injected | None = None) -> Vectors:
        """Return the vectors of the model underneath."""
        return self._answer(len(texts), lambda: self.model.text_features(texts, injected))

    def image_features(self, images: Sequence[Any], injected: Injected | None = None) -> Vectors:
        """Return the vectors of the model underneath."""
        return self._answer(len(images), lambda: self.model.image_features(images, injected))

    def cosines(self, images: Sequence[Any], texts: Sequence[str], injected: Injected | None = None) -> Vectors:
        """Return the cosines of the model underneath."""
        return self._answer((1 + len(texts)) * len(images), lambda: self.model.cosines(images, texts, injected))

    def towers(self) -> Any:
        """Return the towers of the model underneath, whose passes are counted here from now on."""
        import torch

        towers = self.model.towers()
        texts, images = type(towers).texts, type(towers).images

        def made(passes: int) -> None:
            if not self._answering:
                self.count(passes * (PASSES if torch.is_grad_enabled() else 1))

        def of_texts(rows: Any, prompts: Any = None) -> Any:
            context = None if prompts is None else prompts.context
            made(len(rows.ids) * (len(context) if context is not None and context.dim() == 4 else 1))
            return texts(towers, rows, prompts)

        def of_images(pixels: Any, prompts: Any = None) -> Any:
            made(len(pixels))
            return images(towers, pixels, prompts)

        towers.texts, towers.images = of_texts, of_images
        return towers


class MadeViews:
    """Pictures of a picture without a generator: the picture in other colours, drawn by a seed."""

    name = identity = "made-views"
    local = simulated = True

    def vary(self, picture: Any, count: int, seed: int) -> list[Any]:
        """Return `count` pictures of the size of the given one."""
        from PIL.Image import fromarray

        rng, values = np.random.default_rng(seed), np.asarray(picture).astype(np.float32)
        gains = rng.uniform(0.5, 1.5, (count, 3))
        return [fromarray(np.clip(values * gain, 0, 255).astype(np.uint8)) for gain in gains]


class CountingViews(Counted):
    """What makes pictures, each of which counts as a pass."""

    def vary(self, picture: Any, count: int, seed: int) -> Sequence[Any]:
        """Return the pictures of the model underneath."""
        return self._answer(count, lambda: self.model.vary(picture, count, seed))


class WatchedTowers(Watched):
    """A two-tower model that notes how it is used."""

    def __init__(self, model: Any) -> None:
        super().__init__(model)
        self.kind = getattr(model, "kind", "")

    def towers(self) -> Any:
        """Return the towers of the model underneath."""
        self.touched.add("two-tower")
        return self.model.towers()

    def states(self, texts: Sequence[str], injected: Injected | None = None) -> Vectors:
        """Return the states of the model underneath."""
        return self.text_features(texts, injected)

    def text_features(self, texts: Sequence[str], injected: Injected | None = None) -> Vectors:
        """Return the vectors of the model underneath."""
        self.touched.add("two-tower")
        found: Vectors = self.model.text_features(texts, injected)
        return found

    def image_features(self, images: Sequence[Any], injected: Injected | None = None) -> Vectors:
        """Return the vectors of the model underneath."""
        self.touched.add("two-tower")
        found: Vectors = self.model.image_features(images, injected)
        return found

    def cosines(self, images: Sequence[Any], texts: Sequence[str], injected: Injected | None = None) -> Vectors:
        """Return the cosines of the model underneath."""
        self.touched.add("two-tower")
        found: Vectors = self.model.cosines(images, texts, injected)
        return found


def uncount_towers(model: Any) -> None:
    """Take the counting off the towers of a model."""
    towers = vars(model.towers())
    towers.pop("texts", None)
    towers.pop("images", None)
