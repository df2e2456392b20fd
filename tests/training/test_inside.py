"""From fillings to parts that are saved."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from promptology.errors import UsageError
from promptology.injection import Filling
from promptology.injection.modules import Lora, Offsets
from promptology.training.inside import part_of


def test_tensors_and_offsets_become_parts():
    values = torch.nn.Parameter(torch.randn(3, 8))
    part = part_of(Filling("input", values))
    np.testing.assert_array_equal(part.values, values.detach().numpy())
    with torch.no_grad():
        values.zero_()
    assert part.values.any()  # what is saved does not move with what is trained on
    offsets = part_of(Filling("encoder.input", Offsets(torch.ones(4, 2), torch.zeros(2, 8), 1.5)))
    assert (offsets.site, offsets.type, dict(offsets.options)) == ("encoder.input", "offsets", {"scale": 1.5})
    assert {n: a.shape for n, a in offsets.arrays.items()} == {"A": (4, 2), "B": (2, 8)}


def test_another_module_is_refused():
    with pytest.raises(UsageError, match="a Lora at linear:x is nothing that a prompt can hold"):
        part_of(Filling("linear:x", Lora(torch.zeros(1, 2), torch.zeros(2, 1), 1.0)))
