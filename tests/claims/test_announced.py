"""The package's copy of the claims: as released, complete, and checked before it is believed."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import pytest

from promptology.claims.announced import FOLDER, SUMS, entries, select
from promptology.claims.measuring import measurements
from promptology.errors import UsageError
from promptology.methods.registry import catalogue

SOURCE = Path(__file__).resolve().parents[3] / "shared" / "claims"
ENTRY = {
    "id": '"toy-one"',
    "method": '"toy"',
    "says": '"More is more."',
    "card": "1",
    "fixture": '"none"',
    "arms": '{ a = "first", b = "second" }',
    "equal": '"all"',
    "metric": '"score"',
    "rule": '"better(a, b)"',
    "seeds": "5",
    "minutes": "1",
}


def write(folder, *entries_, name="toys.toml"):
    text = "\n".join("[[claim]]\n" + "\n".join(f"{k} = {v}" for k, v in entry.items()) for entry in entries_)
    (folder / name).write_text(text, encoding="utf-8")
    sign(folder)


def sign(folder):
    sums = [f"{hashlib.sha256(p.read_bytes()).hexdigest()}  {p.name}\n" for p in sorted(folder.glob("*.toml"))]
    (folder / SUMS).write_text("".join(sums), encoding="utf-8")


def test_the_copy_equals_the_folder_that_the_claims_come_from():
    if not SOURCE.is_dir():
        pytest.skip(f"{SOURCE} is not there")
    assert [p.name for p in sorted(SOURCE.glob("*.toml"))] == [p.name for p in sorted(FOLDER.glob("*.toml"))]
    for path in SOURCE.glob("*.toml"):
        assert (FOLDER / path.name).read_bytes() == path.read_bytes(), path.name


def test_the_entries_are_read_with_all_their_fields():
    known = {entry.id: entry for entry in entries()}
    assert len(known) == 77
    assert len({(e.family, e.method) for e in known.values()}) == len({e.method for e in known.values()})
    spo = known["spo-no-labels"]
    assert (spo.method, spo.family, spo.card, spo.seeds, spo.minutes) == ("spo", "search", "3", 40, 2)
    assert list(spo.arms) == ["spo", "accept_all", "coin", "start"] and spo.placebo == "coin"
    assert spo.fixture.startswith("simulated, world features") and "hidden quality = share of" in spo.fixture
    assert all(entry.seeds >= 5 for entry in known.values())


def test_selection_by_method_id_and_family():
    known = entries()
    assert select(known) == list(known)
    assert [e.id for e in select(known, ["spo"])] == ["spo-no-labels", "spo-cost", "spo-judge-bias"]
    assert [e.id for e in select(known, ["spo-cost", "dept-cost"])] == ["spo-cost", "dept-cost"]
    assert {e.family for e in select(known, family="people")} == {"people"}
    assert select(known, ["spo"], "soft") == []
    with pytest.raises(UsageError, match=r"a method 'ptecc': did you mean 'ptec'\? there are cipher, spo"):
        select(known, ["ptecc"])
    with pytest.raises(UsageError, match="no claims of a family 'softt'; there are people, search"):
        select(known, family="softt")


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda f: (f / "soft.toml").unlink(), "soft.toml is missing; reinstall promptology"),
        (lambda f: (f / "soft.toml").open("ab").write(b"\n"), "soft.toml was altered"),
        (lambda f: (f / "more.toml").touch(), "more.toml is not one of the released files"),
        (lambda f: (f / SUMS).unlink(), f"{SUMS} is missing"),
        (lambda f: (f / SUMS).write_bytes(b"\xff\xfe"), f"{SUMS} cannot be read"),
        (lambda f: (f / SUMS).write_text("nothing\n"), f"{SUMS} cannot be read"),
    ],
)
def test_a_file_that_is_missing_altered_or_added_is_one_clear_line(tmp_path, spoil, says):
    folder = tmp_path / "announced"
    shutil.copytree(FOLDER, folder)
    assert len(entries(folder)) == 77
    spoil(folder)
    with pytest.raises(UsageError, match=says) as caught:
        entries(folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"colour": '"red"'}, "toys.toml, 'toy-one': unknown field 'colour'"),
        ({"family": '"soft"'}, "unknown field 'family'"),
        ({"rule": '"better(a, c)"'}, "toys.toml, 'toy-one': rule 'better\\(a, c\\)' is about an arm 'c'"),
        ({"rule": '"a > b"'}, "is not understood"),
        ({"placebo": '"c"'}, "placebo 'c' is none of the arms a, b"),
        ({"seeds": '"5"'}, "seeds is a str, not int"),
        ({"seeds": "true"}, "seeds is a bool, not int"),
        ({"seeds": "1"}, "seeds are 2 at least"),
        ({"says": None}, "field says is missing"),
        ({"id": None}, r"'\(no id\)': field id is missing"),
    ],
)
def test_an_entry_that_is_not_complete_is_one_clear_line(tmp_path, change, says):
    entry = {k: v for k, v in (ENTRY | change).items() if v is not None}
    write(tmp_path, entry)
    with pytest.raises(UsageError, match=says):
        entries(tmp_path)


def test_an_id_that_stands_twice_and_a_file_that_is_no_toml_are_refused(tmp_path):
    write(tmp_path, ENTRY, name="one.toml")
    write(tmp_path, ENTRY, name="two.toml")
    with pytest.raises(UsageError, match=r"'toy-one' stands in one\.toml and in two\.toml"):
        entries(tmp_path)
    (tmp_path / "two.toml").write_text("[[claim]\n")
    sign(tmp_path)
    with pytest.raises(UsageError, match=r"two\.toml cannot be read"):
        entries(tmp_path)


def test_every_entry_of_a_landed_method_is_measured_and_every_measurement_has_an_entry():
    known, measured = entries(), measurements()
    own = {id for id, how in measured.items() if how.measure.__module__.startswith("promptology.")}
    assert own <= {entry.id for entry in known}
    assert {entry.id for entry in known if entry.method in catalogue()} <= own
