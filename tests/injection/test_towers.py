"""Prompts in two towers against the authors' formulation: features, losses, and the gradient of every parameter."""

from __future__ import annotations

from itertools import product

import official_towers as official
import pytest
import tiny_towers
import torch

from promptology.errors import UsageError
from promptology.injection.towers import PromptedTowers, Prompts, TextRows

WIDTH, IMAGE_WIDTH = tiny_towers.TEXT["hidden_size"], tiny_towers.VISION["hidden_size"]
NAMES = (" dog", " red bird", " big old grey river", " unheard-of kettle", " a b")


@pytest.fixture(scope="module", params=["clip", "siglip", "old clip", "toy-clip"])
def towers(request):
    """The torch model, its prompted towers, tokenizer, and whether texts have an opening token."""
    if request.param == "toy-clip":
        import promptology as pt

        opened = pt.model("zoo:toy-clip", device="cpu").towers()
        inner, names = opened.inner, opened.tokenizer
    else:
        kind = request.param.split()[-1]
        inner = tiny_towers.tiny_towers(kind, eos=2 if "old" in request.param else None)
        inner.requires_grad_(False)
        names = tiny_towers.tokenizer(kind)
    opening = len(names("")["input_ids"]) - 1
    return PromptedTowers(inner, opening, names.pad_token_id), names


def rows_of(towers, names, m, place="end"):
    """CoOp's texts: m slots and a class name with a full stop, the name at the end, in the middle or in front."""
    words, slots, ids = [names(f"{n}.", add_special_tokens=False)["input_ids"] for n in NAMES], [], []
    whole = names("")["input_ids"]
    for word in words:
        before = {"end": m, "middle": m // 2, "front": 0}[place]
        own = [*whole[: towers.opening], *[5] * before, *word[:-1], *[5] * (m - before), word[-1], whole[-1]]
        behind = towers.opening + before + len(word) - 1
        slots.append([towers.opening + n for n in range(before)] + [behind + n for n in range(m - before)])
        ids.append(own)
    return TextRows(ids, slots)


def leaf(*shape, seed=0, scale=0.3):
    return (scale * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))).requires_grad_()


def widths(towers):
    return towers.inner.config.text_config.hidden_size, towers.inner.config.vision_config.hidden_size


def pixels(towers, n=3):
    size = towers.inner.config.vision_config.image_size
    return torch.randn(n, 3, size, size, generator=torch.Generator().manual_seed(1))


def compared(found, wanted, leaves):
    """Compare features, then a loss through them and its gradient for every parameter."""
    assert found.shape == wanted.shape and found.dtype == torch.float32
    assert float((found - wanted).detach().abs().max()) < 1e-5
    weight = torch.randn(found.shape, generator=torch.Generator().manual_seed(2))
    losses = [(values * weight).sum() for values in (found, wanted)]
    assert float((losses[0] - losses[1]).detach().abs()) < 1e-4
    grads = [torch.autograd.grad(loss, leaves) for loss in losses]
    for one, other in zip(*grads, strict=True):
        assert float(other.abs().max()) > 0
        assert float((one - other).abs().max()) < 1e-4 * max(1.0, float(other.abs().max()))


@pytest.mark.parametrize(("place", "own"), list(product(("end", "middle", "front"), (False, True))))
def test_context_shared_and_per_class(towers, place, own):
    towers, names = towers
    rows = rows_of(towers, names, 4, place)
    context = leaf(*([len(NAMES)] * own), 4, widths(towers)[0])
    wanted = official.texts(towers.inner, rows, towers.pad, towers.opening, context)
    compared(towers.texts(rows, Prompts(context)), wanted, [context])


@pytest.mark.parametrize("place", ["end", "middle", "front"])
def test_context_per_image(towers, place):
    towers, names = towers
    rows = rows_of(towers, names, 4, place)
    context = leaf(3, 4, widths(towers)[0])
    wanted = official.texts_per_image(towers.inner, rows, towers.pad, towers.opening, context)
    compared(towers.texts(rows, Prompts(context[:, None])), wanted, [context])


@pytest.mark.parametrize("own", [False, True])
def test_deep_text_prompts(towers, own):
    towers, names = towers
    rows = rows_of(towers, names, 3)
    depth = len(towers.text_layers)
    shape = ([len(NAMES)] * own) + [2, widths(towers)[0]]
    context = leaf(3, widths(towers)[0])
    deep = [leaf(*shape, seed=n) for n in range(1, depth)]
    wanted = official.texts(towers.inner, rows, towers.pad, towers.opening, context, deep)
    compared(towers.texts(rows, Prompts(context, deep)), wanted, [context, *deep])


def test_deep_tokens_of_images(towers):
    towers, _ = towers
    depth, width = len(towers.vision_layers), widths(towers)[1]
    tokens, deep = leaf(2, width), [leaf(2, width, seed=n) for n in range(1, depth)]
    for layers in (0, 1, depth - 1):
        wanted = official.images(towers.inner, pixels(towers), tokens, deep[:layers])
        found = towers.images(pixels(towers), Prompts(tokens=tokens, deep_tokens=deep[:layers]))
        compared(found, wanted, [tokens, *deep[:layers]])


def test_tokens_of_each_image(towers):
    towers, _ = towers
    tokens = leaf(3, 2, widths(towers)[1])
    wanted = official.images(towers.inner, pixels(towers), tokens)
    compared(towers.images(pixels(towers), Prompts(tokens=tokens)), wanted, [tokens])


def test_without_prompts_features_are_the_models_own(towers):
    towers, names = towers
    ids = names([n.strip() for n in NAMES])["input_ids"]
    with torch.no_grad():
        wanted = official.texts(towers.inner, TextRows(ids), towers.pad, towers.opening)
        assert torch.allclose(towers.texts(TextRows(ids)), wanted, atol=1e-5)
        alone = torch.cat([towers.texts(TextRows([row])) for row in ids])
        assert torch.allclose(alone, wanted, atol=1e-5)
        assert torch.allclose(towers.images(pixels(towers)), official.images(towers.inner, pixels(towers)), atol=1e-5)


def test_texts_in_batches_by_memory(towers):
    towers, names = towers
    rows = rows_of(towers, names, 4)
    context, deep = leaf(4, widths(towers)[0]), [leaf(4, widths(towers)[0], seed=1)]
    whole = towers.texts(rows, Prompts(context, deep))
    small = PromptedTowers(towers.inner, towers.opening, towers.pad, memory=1)
    compared(small.texts(rows, Prompts(context, deep)), whole, [context, *deep])
    with torch.no_grad():
        assert torch.allclose(small.texts(rows, Prompts(context, deep)), whole, atol=1e-5)


def test_prefix_states_do_not_depend_on_the_class(towers):
    """Deep prompts set to the states that the frozen tower has there leave every feature as it was."""
    towers, names = towers
    if not towers.causal:
        pytest.skip("a tower that sees both ways has no such states")
    phrase = names("a photo of a", add_special_tokens=False)["input_ids"]
    whole = names("")["input_ids"]
    words = [names(f"{n}.", add_special_tokens=False)["input_ids"] for n in NAMES]
    rows = TextRows([[*whole[:1], *phrase, *word, whole[-1]] for word in words])
    table, n = towers.text.embeddings, 1 + len(phrase)
    with torch.no_grad():
        hidden = table.token_embedding(torch.tensor([rows.ids[0][:n]])) + table.position_embedding.weight[:n]
        mask = torch.full((n, n), float("-inf")).triu(1)[None, None]
        deep = []
        for layer in towers.text.encoder.layers[:-1]:
            hidden = layer(hidden, mask)
            deep.append(hidden[0, 1:3])
        plain = towers.texts(rows)
        context = table.token_embedding(torch.tensor(phrase))
        slots = [list(range(1, n))] * len(words)
        filled = towers.texts(TextRows(rows.ids, slots), Prompts(context, deep))
    assert torch.allclose(plain, filled, atol=1e-5)


def test_nothing_behind_the_end_counts(towers):
    towers, names = towers
    if not towers.causal:
        pytest.skip("every position is read")
    ids = names([n.strip() for n in NAMES])["input_ids"]
    with torch.no_grad():
        one = official.texts(towers.inner, TextRows(ids), 7, 1)
        assert torch.allclose(towers.texts(TextRows(ids)), one, atol=1e-5)


def test_faults_are_said(towers):
    towers, names = towers
    rows, width = rows_of(towers, names, 2), widths(towers)[0]
    with pytest.raises(UsageError, match="a context of 3 vectors needs as many slots"):
        towers.texts(rows, Prompts(leaf(3, width)))
    with pytest.raises(UsageError, match="context was given for 2 texts, and there are 5"):
        towers.texts(rows, Prompts(leaf(2, 2, width)))
    with pytest.raises(UsageError, match=rf"prompts for {len(towers.text_layers) + 1} layers; the text tower has"):
        towers.texts(rows, Prompts(leaf(2, width), [leaf(2, width)] * len(towers.text_layers)))
    with pytest.raises(UsageError, match="stands at the beginning of a text"):
        towers.texts(rows_of(towers, names, 2, "front"), Prompts(leaf(2, width), [leaf(2, width)]))
    with pytest.raises(UsageError, match="the image tower has"):
        towers.images(pixels(towers), Prompts(deep_tokens=[leaf(2, 4)] * len(towers.vision_layers)))
    with pytest.raises(UsageError, match="need those of the first layer"):
        towers.images(pixels(towers), Prompts(deep_tokens=[leaf(2, 4)]))


def test_no_weight_gets_a_gradient(towers):
    towers, names = towers
    context = leaf(2, widths(towers)[0])
    towers.texts(rows_of(towers, names, 2), Prompts(context)).sum().backward()
    assert context.grad is not None and all(p.grad is None for p in towers.inner.parameters())
