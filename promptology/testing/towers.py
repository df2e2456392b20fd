"""What contracts use for methods of two-tower models: a few drawn pictures, and wrappers that count and watch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from promptology.data.items import Item
from promptology.data.loaders import load_task
from promptology.data.task import Task
from promptology.models.access import Injected, Vectors
from promptology.testing.inside import CountingInside, WatchedInside
from promptology.training.loop import PASSES

MODEL = "zoo:toy-clip"
CLASSES = 3


def small_pictures() -> Task:
    """Return a few backlit pictures of three classes of Toyland in all splits, the classes in turn."""
    whole = load_task("toyland:base?shots=4&validation=4&test=4&domain=backlit")
    few = whole.among(whole.signature.class_names[:CLASSES])
    splits = {"train": few.train, "validation": few.validation, "test": few.open_test()}
    return Task(
        **{split: _in_turn(items) for split, items in splits.items()},  # type: ignore[arg-type]
        signature=few.signature,
        name="pictures-small",
    )


def _in_turn(items: Sequence[Item]) -> list[Item]:
    each = len(items) // CLASSES
    return [items[c * each + n] for n in range(each) for c in range(CLASSES)]


class CountingTowers(CountingInside):
    """A two-tower model that counts its passes where they are made.

    A text or an image counts one, with gradients as many as a training item; of texts whose context depends on the
    image, each for each image.
    """

    @property
    def context(self) -> int | None:
        """The longest text of the model underneath."""
        longest: int | None = self.model.context
        return longest

    def count_tokens(self, text: str) -> int | None:
        """Return the tokens that the model underneath counts."""
        counted: int | None = self.model.count_tokens(text)
        return counted

    def text_features(self, texts: Sequence[str], injected: Injected | None = None) -> Vectors:
        """Return the vectors of the model underneath."""
        return self._answer(len(texts), lambda: self.model.text_features(texts, injected))

    def image_features(self, images: Sequence[Any], injected: Injected | None = None) -> Vectors:
        """Return the vectors of the model underneath."""
        return self._answer(len(images), lambda: self.model.image_features(images, injected))

    def cosines(self, images: Sequence[Any], texts: Sequence[str], injected: Injected | None = None) -> Vectors:
        """Return the cosines of the model underneath."""
        return self._answer(len(images) * (1 + len(texts)), lambda: self.model.cosines(images, texts, injected))

    def towers(self) -> Any:
        """Return the towers of the model underneath, whose passes are counted here from now on."""
        import torch

        towers = self.model.towers()

        def counted(name: str) -> Any:
            plain = getattr(type(towers), name)

            def forward(*given: Any) -> Any:
                found = plain(towers, *given)
                if not self._answering:
                    self.count(found[..., 0].numel() * (PASSES if torch.is_grad_enabled() else 1))
                return found

            return forward

        towers.texts, towers.images = counted("texts"), counted("images")
        return towers


class WatchedTowers(WatchedInside):
    """A two-tower model that notes how it is used."""

    @property
    def context(self) -> int | None:
        """The longest text of the model underneath."""
        longest: int | None = self.model.context
        return longest

    def towers(self) -> Any:
        """Return the towers of the model underneath."""
        self.touched.add("two-tower")
        return self.model.towers()

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

    def states(self, texts: Sequence[str], injected: Injected | None = None) -> Vectors:
        """Return the vectors of texts under learned parts, of the model underneath."""
        self.touched.add("two-tower")
        found: Vectors = self.model.states(texts, injected)
        return found
