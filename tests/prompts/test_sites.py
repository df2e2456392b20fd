from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest

from promptology.data.items import ClassLabel, Field, Signature
from promptology.errors import ArtifactError
from promptology.prompts import AddedTokens, Learned, Readout, SiteModule, SiteTensors, Text, Weights, load, save

SIGNATURE = Signature((Field("text"),), "class", (ClassLabel("spam"), ClassLabel("ham")))


def numbers(*shape, seed=0, dtype=np.float32):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def sample():
    pairs = [SiteTensors(f"decoder.key_value[{n}]", numbers(2, 5, 2, 4, seed=n)) for n in range(3)]
    tokens = AddedTokens(("<a>", "<b>"), numbers(2, 8), numbers(2, 8, seed=1))
    return Learned(
        (
            SiteTensors("encoder.input", numbers(5, 8), tokens=tokens),
            *pairs,
            SiteModule("encoder.input", "offsets", {"scale": 1.5}, {"A": numbers(9, 2), "B": numbers(2, 8)}),
            Weights("lora", {"alpha": 4}, {"h.0.q.A": numbers(2, 8), "h.0.q.B": numbers(6, 2)}),
            Weights("full", {}, {"h.0.q.weight": numbers(3, 3, dtype=np.float16)}, role="judge"),
            Text("Say spam or ham."),
            Readout("head", {"classes": ["spam", "ham"]}, {"weight": numbers(2, 8), "bias": numbers(2)}),
        ),
        SIGNATURE,
        {"model": "differentiable", "judge": "trainable"},
    )


def test_every_kind_comes_back_as_it_was(tmp_path):
    learned = sample()
    again = load(save(learned, tmp_path / "p"))
    assert again.same_as(learned)
    assert again.to_json() == learned.to_json()
    assert again.part(SiteTensors).tokens.strings == ("<a>", "<b>")
    assert again.parts[6].arrays["h.0.q.weight"].dtype == np.float16
    assert again.readout == learned.readout
    assert again.readout.arrays["bias"].shape == (2,)


def test_a_number_that_differs_is_another_prompt():
    learned = sample()
    changed = np.array(learned.readout.arrays["bias"])
    changed[0] += 1e-6
    head = Readout("head", learned.readout.options, {**learned.readout.arrays, "bias": changed})
    assert not learned.with_parts(head).same_as(learned)
    assert head != learned.readout
    assert learned.with_parts(Readout("head", learned.readout.options, learned.readout.arrays)).same_as(learned)


def test_a_readout_without_tensors_is_saved_as_before(tmp_path):
    folder = save(Learned((Text("a"), Readout("answer", {"k": 1})), SIGNATURE), tmp_path / "p")
    assert json.loads((folder / "prompt.json").read_text())["parts"][1] == {
        "kind": "readout",
        "type": "answer",
        "options": {"k": 1},
    }
    assert load(folder).readout.arrays == {}


def test_arrays_cannot_be_changed_from_outside():
    mine = numbers(4, 8)
    part = SiteTensors("input", mine)
    mine[:] = 0
    assert part.values.any()
    with pytest.raises(ValueError, match="read-only"):
        part.values[0, 0] = 1
    assert SiteTensors("input", part.values).values is part.values
    assert SiteTensors("input", mine[:, ::2].astype(np.float64)).values.dtype == np.float32


def test_a_part_replaces_the_one_at_its_place_only():
    learned = sample()
    new = SiteTensors("decoder.key_value[1]", numbers(2, 5, 2, 4, seed=9))
    changed = learned.with_parts(new)
    assert [p is q for p, q in zip(changed.parts, learned.parts, strict=True)].count(False) == 1
    assert changed.parts[2] is new
    other = SiteTensors("decoder.key_value[1]", numbers(2, 5, 2, 4), role="judge")
    assert changed.with_parts(other).parts == (other, *changed.parts)
    two = [SiteModule("encoder.input", "offsets", {"scale": s}, {"A": numbers(9, 2)}) for s in (1, 2)]
    both = learned.with_parts(*two)
    assert [p for p in both.parts if isinstance(p, SiteModule)] == two
    assert len(both.parts) == len(learned.parts) + 1


def test_vectors_are_shown_by_their_shapes():
    assert sample().as_text().splitlines() == [
        "Say spam or ham.",
        "[head] classes: ['spam', 'ham']",
        "[head] weight: 2 x 8",
        "[head] bias: 2",
        "[tensors] encoder.input: 5 x 8, with 2 added tokens",
        "[tensors] decoder.key_value[0 to 2]: 2 x 5 x 2 x 4",
        "[module] encoder.input: offsets A 9 x 2, B 2 x 8",
        "[weights] lora: 2 tensors, 28 numbers",
        "[weights] judge: full: 1 tensor, 9 numbers",
    ]


@pytest.mark.parametrize("site", ["", "inputs", "layer", "layer[-1]", "layer[a]", "lower.input", "input[2]", "linear:"])
def test_what_is_no_site_is_refused(site):
    with pytest.raises(ArtifactError, match="is not understood"):
        SiteTensors(site, numbers(2, 2))


A, B = numbers(2, 8), numbers(6, 2)
LORA = {"alpha": 4}


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: SiteTensors("input", numbers(8)), "shape 8; it must be length x width"),
        (lambda: SiteTensors("key_value[0]", numbers(3, 5, 2, 4)), "it must be 2 x length x heads"),
        (lambda: SiteTensors("key_value[0]", numbers(2, 5, 8)), "it must be 2 x length x heads"),
        (lambda: SiteTensors("last_position[0]", numbers(2, 5)), "it must be width"),
        (lambda: SiteTensors("mlp[0]", numbers(2, 5)), "takes a module"),
        (lambda: SiteTensors("weight:a.b", numbers(2, 5)), "takes weights of type full"),
        (lambda: SiteTensors("input", numbers(0, 8)), "empty"),
        (lambda: SiteTensors("input", np.full((2, 2), np.nan)), "NaN"),
        (lambda: SiteTensors("input", np.zeros((2, 2), int)), "floats of 16 or 32 bits"),
        (lambda: SiteTensors("input", A, tokens=AddedTokens(("a",), numbers(2, 8))), "1 added tokens"),
        (lambda: SiteModule("input", "os.system"), "unknown type of module"),
        (lambda: SiteModule("input", "offsets", {}, {"A": np.full(2, np.inf)}), "infinity"),
        (lambda: Weights("prefix", {}, {"a": A}), "unknown type of weights"),
        (lambda: Weights("full"), "hold no tensors"),
        (lambda: Weights("lora", LORA, {"q.A": A}), "must hold A and B"),
        (lambda: Weights("lora", LORA, {"q.A": A, "q.B": B.T}), "needs rank x in and out x rank"),
        (lambda: Weights("lora", {}, {"q.A": A, "q.B": B}), "alpha None"),
    ],
)
def test_faulty_parts_are_one_line(make, words):
    with pytest.raises(ArtifactError, match=words) as caught:
        make()
    assert "\n" not in str(caught.value)


def test_alphas_of_lora():
    options = {**LORA, "alphas": {"v": 3}}
    arrays = {"q.A": A, "q.B": B, "v.A": numbers(1, 8), "v.B": numbers(6, 1)}
    part = Weights("lora", options, arrays)
    assert part.paths == ("q", "v")
    assert (part.alpha("q"), part.alpha("v")) == (4, 3)


def change(doc, part, **values):
    doc["parts"][part] = {**doc["parts"][part], **values}
    return doc


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda doc, t: change(doc, 0, shape=[4, 8]), "shape 5 x 8; 4 x 8 was saved"),
        (lambda doc, t: change(doc, 0, site="somewhere"), "is not understood"),
        (lambda doc, t: change(doc, 4, type="mystery"), "unknown type of module 'mystery'"),
        (lambda doc, t: change(doc, 4, digest="0"), "not the ones that were saved"),
        (lambda doc, t: t["4"].pop("A"), "lacks its tensor 'A'"),
        (lambda doc, t: t["4"].update(C=A), "too many: 'C'"),
        (lambda doc, t: t.pop("0"), "lacks its tensor 'values'"),
        (lambda doc, t: t["5"].update({"h.0.q.A": numbers(2, 9)}), "shape 2 x 9; 2 x 8 was saved"),
        (lambda doc, t: t["0"].update(values=np.full((5, 8), np.nan, np.float32)), "NaN"),
        (lambda doc, t: t.pop("8"), "not the ones that were saved"),
    ],
)
def test_faulty_folders_are_one_line(spoil, words):
    learned = sample()
    doc = learned.to_json()
    tensors = {str(n): part.tensors() for n, part in enumerate(learned.parts)}
    spoil(doc, tensors)
    with pytest.raises(ArtifactError, match=words):
        Learned.from_json(doc, tensors)


def test_loading_needs_no_torch(tmp_path):
    folder = save(sample(), tmp_path / "p")
    code = "import sys, promptology as pt; print(pt.load(sys.argv[1])); assert 'torch' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code, str(folder)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
