"""What the contract of sites asks a model with: inputs that fit it, and fillers for its sites."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from promptology.errors import UsageError
from promptology.testing.promises import Checked

ROWS, TOKENS, LENGTH, STEPS = 3, 7, 4, 4
"""Rows and tokens of the texts, virtual tokens of a prompt, and tokens that are generated."""
SAME = {"float32": 1e-4, "float64": 1e-6}
"""Largest difference of two ways to compute the same, as a share of the largest value; 0.05 in half precision."""


class Probe:
    """A model with inputs that fit it, and with fillers for its sites."""

    def __init__(self, checked: Checked, model: Any) -> None:
        import torch

        from promptology.injection import sites_of

        self.checked, self.model = checked, model
        self.sites = sites_of(model)
        self.generator = torch.Generator().manual_seed(0)
        towers = self.sites.kind == "two-tower"
        if not towers and getattr(model, "main_input_name", "input_ids") != "input_ids":
            raise UsageError(f"check_sites asks models of text and pairs of towers, not {type(model).__name__}")
        self.batch = {"input_ids": self.ids(ROWS, TOKENS)}
        if towers:
            vision = model.config.vision_config
            shape = (ROWS, getattr(vision, "num_channels", 3), vision.image_size, vision.image_size)
            self.batch["pixel_values"] = self.normal(*shape).to(model.dtype)
        if self.sites.kind == "seq2seq" and hasattr(model, "generate"):
            self.batch["decoder_input_ids"] = self.ids(ROWS, STEPS)
        self.same = SAME.get(str(model.dtype).removeprefix("torch."), 0.05)
        self.learned: list[Any] = []

    def ids(self, rows: int, length: int) -> Any:
        """Return random ids of ordinary tokens."""
        import torch

        config = getattr(self.model.config, "text_config", self.model.config)
        names = ("pad_token_id", "bos_token_id", "eos_token_id", "decoder_start_token_id")
        special = {getattr(config, name, None) for name in names}
        ordinary = torch.tensor([i for i in range(min(config.vocab_size, 5000)) if i not in special])
        chosen = torch.randint(len(ordinary) // 2, len(ordinary), (rows, length), generator=self.generator)
        return ordinary[chosen].to(self.model.device)

    def normal(self, *shape: int) -> Any:
        """Return random numbers, float32."""
        import torch

        return torch.randn(*shape, generator=self.generator).to(self.model.device)

    def outputs(self, **batch: Any) -> list[Any]:
        """Return all tensors that the model gives, and what leaves its stacks."""
        from promptology.injection import capture

        outputs = [f"{name}.output" for name in self.sites.stacks]
        with capture(self.model, [name for name in outputs if name in self.sites.available]) as states:
            out = self.model(**(batch or self.batch))
        return [*tensors_of(out), *states.values()]

    def apart(self, one: Sequence[Any], other: Sequence[Any]) -> float:
        """Return the largest difference, as a share of the largest value; only at the text where lengths differ."""
        worst = 0.0
        for a, b in zip(one, other, strict=True):
            if a.shape != b.shape:
                n = min(a.shape[1], b.shape[1])
                a, b = a[:, -n:], b[:, -n:]
            scale = max(float(b.detach().float().abs().max()), 1e-12)
            worst = max(worst, float((a.detach().float() - b.detach().float()).abs().max()) / scale)
        return worst

    def module(self, width: int | None = None) -> Any:
        """Return a module that scales channels at random, or leaves all as it is (without a width)."""
        import torch

        class Part(torch.nn.Module):  # type: ignore[misc]
            def __init__(self, by: Any) -> None:
                super().__init__()
                self.by = torch.nn.Parameter(by)

            def forward(self, hidden: Any, spans: Any, batch: Any) -> Any:
                return hidden * self.by if width else hidden

        return Part(1 + self.normal(width or 1))

    def config(self, stack: str) -> Any:
        """Return the config of a stack."""
        from promptology.injection.arch import find

        return find(self.model.base_model, self.sites.stacks[stack].path).config

    def width(self, stack: str) -> int:
        """Return the width of a stack's states."""
        return int(self.config(stack).hidden_size)

    def prompt(self, stack: str, *rows: int, length: int = LENGTH) -> Any:
        """Return virtual tokens a few times as large as the model's own, so that they matter."""
        table = self.embeddings(stack)
        size = float(table.weight.float().std()) if hasattr(table, "weight") else 1.0
        width = int(table.weight.shape[1]) if hasattr(table, "weight") else self.width(stack)
        return 3 * size * self.normal(*rows, length, width)

    def key_values(self, stack: str, place: str) -> tuple[list[Any], list[Any]]:
        """Return fillings with keys and values for every layer of a stack, and the values."""
        from promptology.injection import Filling
        from promptology.injection.prompting import heads_of

        shape = 2, LENGTH, *heads_of(self.config(stack))
        values = [self.normal(*shape).requires_grad_() for _ in range(self.sites.layers[stack])]
        return [Filling(f"{stack}.{place}[{i}]", value) for i, value in enumerate(values)], values

    def embeddings(self, stack: str) -> Any:
        """Return the module that embeds tokens."""
        from promptology.injection.arch import find

        table = self.sites.stacks[stack]
        return find(find(self.model.base_model, table.path), table.embeddings)

    def made_of(self) -> Any:
        """Return everything that attaching may touch."""
        tensors = {k: (id(t), t._version) for k, t in self.model.state_dict(keep_vars=True).items()}
        modules = [(len(m._forward_hooks), len(m._forward_pre_hooks), m.training) for m in self.model.modules()]
        configs = [m.config._attn_implementation for m in self.model.modules() if hasattr(m, "config")]
        return tensors, modules, configs, [(p.requires_grad, p.grad) for p in self.model.parameters()]


def tensors_of(out: Any) -> list[Any]:
    """Return the float tensors in what a model gives, at any depth; a cache has none."""
    import torch

    if isinstance(out, torch.Tensor):
        return [out] if out.is_floating_point() else []
    values = out.values() if hasattr(out, "values") and hasattr(out, "keys") else out
    if not isinstance(out, list | tuple | dict) and values is out:
        return []
    return [tensor for value in values for tensor in tensors_of(value)]
