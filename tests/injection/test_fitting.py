from __future__ import annotations

import pytest

from promptology.errors import UsageError

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
import tiny  # noqa: E402

from promptology.injection import Filling  # noqa: E402
from promptology.injection.fitting import fitted, placed  # noqa: E402
from promptology.injection.modules import MODULES  # noqa: E402


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tiny.tiny_roberta(tmp_path_factory.mktemp("models") / "roberta")
    return transformers.AutoModelForMaskedLM.from_pretrained(folder).eval()


def offsets(width):
    return MODULES["offsets"]({}, {"A": torch.zeros(4, 2), "B": torch.zeros(2, width)})


@pytest.mark.parametrize("prefix", ["", "roberta."])
def test_names_with_and_without_the_stacks_prefix(model, prefix):
    layer, weight = "encoder.layer.0.attention.self.query", "embeddings.position_embeddings.weight"
    fillings = [
        Filling(f"linear:{prefix}{layer}", torch.nn.Identity()),
        Filling(f"weight:{prefix}{weight}", torch.zeros(2)),
    ]
    assert [f.site for f in fitted(model, fillings)] == [f"linear:roberta.{layer}", f"weight:roberta.{weight}"]
    assert [f.site for f in fitted(model.roberta, fillings)] == [f"linear:{layer}", f"weight:{weight}"]


def test_a_weight_takes_the_type_of_the_one_it_stands_for(model):
    half = transformers.RobertaForMaskedLM(model.config).to(torch.float16)
    name = "weight:roberta.embeddings.LayerNorm.weight"
    assert fitted(half, [Filling(name, torch.ones(32))])[0].filler.dtype == torch.float16


def test_one_prompt_for_each_row_is_checked_too(model):
    rows = [torch.zeros(2, 32), torch.zeros(3, 32)]
    assert [len(row) for row in fitted(model, [Filling("input", rows)])[0].filler] == [2, 3]
    with pytest.raises(UsageError, match="16 wide, the model's embeddings are 32"):
        fitted(model, [Filling("input", [rows[0], torch.zeros(2, 16)])])


@pytest.mark.parametrize(
    ("site", "filler", "words"),
    [
        ("input", torch.zeros(2, 16), "the prompt is 16 wide, the model's embeddings are 32"),
        ("input", offsets(16), "the offsets are 16 wide, the model's embeddings are 32"),
        ("linear:encoder.layer.9.attention.self.query", torch.nn.Identity(), "no layer 'encoder.layer.9"),
        ("weight:lost", torch.zeros(2), "no weight 'lost'"),
        ("decoder.input", torch.zeros(2, 32), "no stack 'decoder'"),
    ],
)
def test_what_belongs_to_another_model_is_one_line(model, site, filler, words):
    with pytest.raises(UsageError, match=words) as caught:
        fitted(model, [Filling(site, filler)])
    assert "\n" not in str(caught.value)


def test_a_shared_module_stays_where_it_is():
    mine = offsets(32)
    moved = placed(mine, torch.device("meta"))
    assert (mine.A.device.type, moved.A.device.type) == ("cpu", "meta")
    assert placed(mine, torch.device("cpu")) is mine
