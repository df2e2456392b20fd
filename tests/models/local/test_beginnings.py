"""A beginning that all prompts of a batch have is run once in training: the same losses, the same gradients."""

import pytest
import tiny
import torch

import promptology as pt
from promptology.injection import Filling, attach
from promptology.injection.attaching import counts_tokens
from promptology.injection.modules import Lora, Offsets

ROWS = [[5 + n % 7 for n in range(12)] + [20 + k, 21 + 2 * k] + [30] * k for k in range(4)]
TARGETS = [[9], [10, 11], [12, 13, 14], [15]]


@pytest.fixture(scope="module", params=["gpt2", "llama"])
def body(request, tmp_path_factory):
    torch.set_num_threads(1)
    folder = getattr(tiny, f"tiny_{request.param}")(tmp_path_factory.mktemp(request.param))
    return pt.model(f"hf:{folder}").frozen()


def losses(body, fillings, share):
    with attach(body.model, fillings):
        return body.target_logprobs(ROWS, TARGETS, share=share)


def test_a_shared_beginning_gives_the_same_values_and_gradients(body):
    found = {}
    for share in (True, False):
        prompt = torch.nn.Parameter(0.1 * torch.randn(5, body.dimension, generator=torch.Generator().manual_seed(0)))
        values = losses(body, [Filling("input", prompt)], share)
        values.mean().backward()
        found[share] = values.detach(), prompt.grad
    assert body._common(ROWS, TARGETS) == 12
    for one, other in zip(found[True], found[False], strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)
    assert found[True][1].abs().max() > 0


def test_a_low_rank_addition_shares_too(body):
    path = next(n for n, m in body.model.named_modules() if n.endswith(("q_proj", "c_attn")))
    layer = body.model.get_submodule(path)
    size = layer.weight.shape if type(layer).__name__ == "Conv1D" else layer.weight.shape[::-1]
    make = torch.Generator().manual_seed(1)
    module = Lora(torch.randn(2, size[0], generator=make), torch.randn(size[1], 2, generator=make), 0.1)
    one, other = (losses(body, [Filling(f"linear:{path}", module)], share) for share in (True, False))
    torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)
    assert (one - losses(body, [], False)).abs().max() > 1e-4


def test_modules_that_may_count_tokens_are_given_whole_rows(body):
    offsets = Offsets(torch.randn(20, 2), torch.randn(2, body.dimension), 1.0)
    with attach(body.model, [Filling("input", offsets)]):
        assert counts_tokens(body.model)
        assert body._common(ROWS, TARGETS) == 0
    assert not counts_tokens(body.model)
    one, other = (losses(body, [Filling("input", offsets)], share) for share in (True, False))
    torch.testing.assert_close(one, other, atol=0, rtol=0)
