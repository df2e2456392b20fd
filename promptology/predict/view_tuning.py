"""Procedure `view-tuning`: the context of class names follows the views of one image that the model is sure about.

Manli Shu et al., "Test-Time Prompt Tuning for Zero-Shot Generalization in Vision-Language Models", NeurIPS 2022,
arXiv:2209.07511; with generated views and their filter, Chun-Mei Feng et al., "Diverse Data Augmentation with
Diffusions for Effective Test-time Prompt Tuning", ICCV 2023, arXiv:2308.06038. The methods `tpt` and `difftpt` state
the steps. Every image is done by itself, from the same context and with a new optimiser, and its views are drawn from
its own digest: neither order nor batch plays a part. Its views are encoded once, since nothing of the image tower
moves; of the text tower only the context has a gradient.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from promptology.data.mixing import augmix
from promptology.data.views import Augment, crops
from promptology.errors import ModelError, UsageError
from promptology.models.access import Injected, Vectors
from promptology.predict.adapting import between, procedure, whole

if TYPE_CHECKING:
    from torch import Tensor

WITH_GRADIENTS = 3
"""Forward passes that one with its backward pass counts as, here as in training."""
LARGEST = 2**31
GENERATING, MIXING = 1, 2
"""What tells apart the generators of an image that are not those of its crops."""
SIMILARITIES = ("image", "logits")


@procedure("view-tuning")
@dataclass(frozen=True)
class ViewTuning:
    """Settings: how many views of which origin, which of them count, and the steps.

    `crops`, `generated`: views beside the image itself; `flip`: share of crops that is mirrored; `augmix`: whether they
    are then mixed from chains of operations, see `promptology.data.mixing`. `faithful`: share that is kept as most
    similar to the image itself, by `similarity`: of generated views by the cosine of their vectors (image), or of all
    by the cosine of their class logits (logits). `confident`: share of these that is kept for the lowest entropy.
    `steps` of AdamW at `rate` with weight decay `decay`. `seed`: of views.
    """

    crops: int = 63
    generated: int = 0
    flip: float = 0.5
    augmix: bool = False
    faithful: float = 1.0
    similarity: str = "image"
    confident: float = 0.1
    steps: int = 1
    rate: float = 5e-3
    decay: float = 0.01
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("crops", "generated", "steps", "seed"):
            whole(name, getattr(self, name), 0)
        for name in ("flip", "faithful", "confident"):
            between(name, getattr(self, name), 0, 1)
        if not isinstance(self.augmix, bool):
            raise UsageError(f"augmix is {self.augmix!r}; true or false is due")
        between("rate", self.rate, 0)
        between("decay", self.decay, 0)
        if self.similarity not in SIMILARITIES:
            raise UsageError(f"similarity {self.similarity!r} is unknown; there are {', '.join(SIMILARITIES)}")

    @property
    def idle(self) -> bool:
        """Whether no step is taken."""
        return self.steps == 0

    @property
    def roles(self) -> tuple[str, ...]:
        """The role that makes pictures, where some are wanted."""
        return ("views",) if self.generated else ()

    def passes(self, texts: int) -> int:
        """Return a pass for each view, one for each generated picture, three for each text and step, and the last."""
        return 1 + self.crops + 2 * self.generated + (WITH_GRADIENTS * self.steps + 1) * texts

    def run(
        self,
        model: Any,
        helpers: Mapping[str, Any],
        images: Sequence[Any],
        texts: Sequence[str],
        injected: Injected | None,
    ) -> Vectors:
        """Return the cosines of each image with the texts under the context that was adapted to it."""
        from promptology.injection.towers import Prompts
        from promptology.models.local.prompted import tower_parts

        towers = model.towers()
        parts = tower_parts(towers, injected.fillings if injected else ())
        if parts.context is None:
            raise UsageError("this prompt has no context in the text tower that could be adapted")
        worded = towers.worded(texts, parts.length)
        rows, start = parts.of_texts(worded) if parts.module is None else (None, Prompts())
        found = []
        for image in images:
            f = self.features(towers, self.pictures(towers, image, helpers.get("views")), parts.of_images())
            if parts.module is not None:  # the context that it gives for the image is what is adapted
                rows, start = parts.of_texts(worded, f[:1])
            found.append(self.adapted(towers, rows, start, f, getattr(image, "name", "an image")))
        return np.stack(found)

    def pictures(self, towers: Any, image: Any, generator: Any = None) -> list[Any]:
        """Return the image itself, its crops and its generated pictures; they depend on image and seed alone."""
        own = int(image.digest, 16)
        side = max(towers.preprocess.side)
        drawn = crops(image, side, self.crops, np.random.default_rng([self.seed, own]), Augment(flip=self.flip))
        if self.augmix:
            mixing = np.random.default_rng([self.seed, own, MIXING])
            drawn = [augmix(view, mixing) for view in drawn]
        if not self.generated:
            return [image, *drawn]
        seed = int(np.random.default_rng([self.seed, own, GENERATING]).integers(LARGEST))
        try:
            return [image, *drawn, *generator.vary(image.rgb(), self.generated, seed)]
        except ModelError as error:
            raise ModelError(f"{getattr(image, 'name', 'an image')}: {error}") from None

    def features(self, towers: Any, pictures: Sequence[Any], prompts: Any) -> Tensor:
        """Return unit vectors of views, float32 (views, d)."""
        import torch

        with torch.no_grad():
            found: Tensor = towers.images(towers.pixels(pictures), prompts)
            return found

    def adapted(self, towers: Any, rows: Any, start: Any, f: Tensor, name: str) -> Any:
        """Return the cosines of the first view with the texts after the steps; raises ModelError where one is NaN."""
        import torch

        scale, bias = towers.scale, towers.bias
        context = start.context.detach().float().clone().requires_grad_()
        optimizer = torch.optim.AdamW([context], lr=self.rate, weight_decay=self.decay)
        kept: Tensor | None = None
        for _ in range(self.steps):
            with torch.enable_grad():
                g = towers.texts(rows, start._replace(context=context)).flatten(0, -2)
                kept = self.kept(scale * f @ g.detach().T + bias, f) if kept is None else kept
                loss = mean_entropy(scale * f[kept] @ g.T + bias)
            if not torch.isfinite(loss):
                raise ModelError(f"{name}: {towers.name} gives no numbers for its views; nothing can be adapted to it")
            (context.grad,) = torch.autograd.grad(loss, [context])
            optimizer.step()
        with torch.no_grad():
            g = towers.texts(rows, start._replace(context=context.detach())).flatten(0, -2)
            return (f[:1] @ g.T)[0].cpu().numpy()

    def kept(self, logits: Tensor, f: Tensor) -> Tensor:
        """Return the indices of the views that count, chosen once by the logits (views, classes) of the start."""
        import torch

        views = torch.arange(len(f), device=f.device)
        if self.faithful < 1 and len(f) > 1:
            first = 1 if self.similarity == "logits" else len(f) - self.generated
            compared = f if self.similarity == "image" else logits
            cosines = torch.nn.functional.cosine_similarity(compared[:1], compared[first:], dim=-1)
            alike = cosines.argsort(descending=True, stable=True)[: share_of(self.faithful, len(cosines))]
            views = torch.cat([views[:first], first + alike])
        order = entropies(logits[views]).argsort(stable=True)
        return views[order[: share_of(self.confident, len(views))]]


def share_of(share: float, count: int) -> int:
    """Return how many of `count` a share is: rounded down, at least one, none of none."""
    return min(count, max(1, math.floor(share * count + 1e-9)))


def entropies(logits: Tensor) -> Tensor:
    """Return the entropy in nats of the softmax of each row."""
    logs = logits.log_softmax(dim=-1)
    return -(logs.exp() * logs).sum(dim=-1)


def mean_entropy(logits: Tensor) -> Tensor:
    """Return the entropy in nats of the mean over rows of their softmax."""
    import torch

    logs = logits.log_softmax(dim=-1).logsumexp(dim=0) - math.log(len(logits))
    logs = logs.clamp(min=torch.finfo(logs.dtype).min)
    return -(logs.exp() * logs).sum()
