"""How claims about cost measure: arms in turn, medians, and memory by hand."""

from __future__ import annotations

import torch

from promptology.claims import costs
from promptology.claims.costs import interleaved, kept_bytes, one_thread


def test_arms_take_turns_forth_and_back():
    done = []
    times = interleaved({"a": lambda: done.append("a"), "b": lambda: done.append("b")}, repeats=4, unmeasured=2)
    assert "".join(done) == "aabb" + "abba" * 2
    assert set(times) == {"a", "b"}


def test_the_value_is_the_median_in_milliseconds(monkeypatch):
    clock, spent = [0.0], iter([100.0, 0.001, 0.009, 0.002])

    def work():
        clock[0] += next(spent)

    monkeypatch.setattr(costs.time, "process_time", lambda: clock[0])
    assert round(interleaved({"a": work}, repeats=3, unmeasured=1)["a"], 9) == 2.0


def test_torch_computes_on_one_thread_inside():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with one_thread():
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_kept_bytes_by_hand():
    model = torch.nn.Linear(6, 6, bias=False).requires_grad_(False)
    x = torch.randn(5, 6, requires_grad=True)

    def loss():
        y = model(x)  # keeps the weight alone, since the weight takes no gradient
        z = y.sigmoid()  # keeps its output
        (z * 3.0).exp()  # leads nowhere, so that its backward pass is gone
        return (z[:2] * z[:2]).sum()  # keeps views of that output: the same memory

    assert kept_bytes(model, loss) == 5 * 6 * 4
    assert kept_bytes(torch.nn.Identity(), loss) == 5 * 6 * 4 + 6 * 6 * 4
