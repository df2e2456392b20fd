"""What the docs tell to type: each command is of the real grammar, and what is marked prints what stands there."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import promptology as pt
from promptology.cli.app import ClickError
from promptology.cli.options import assignments, prices
from promptology.methods.registry import catalogue as methods
from promptology.methods.registry import create
from promptology.run.budget import Budget

ROOT = Path(__file__).resolve().parents[2]
RUN = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "docs").rglob("*.md") if "<!-- run" in path.read_text())


@pytest.fixture(scope="session")
def root(script):
    return script("docs_commands").root()


def parse(root, words):
    """Parse a command as the command line would, without running it; return its name and the values of its options."""
    command, name = root, words[0]
    rest = list(words[1:])
    while hasattr(command, "commands"):
        if rest[0] not in command.commands:
            raise LookupError(f"there is no command {' '.join([name, rest[0]])}")
        name = f"{name} {rest[0]}"
        command = command.commands[rest.pop(0)]
    return name, command.make_context(name, rest).params


def check(root, words):
    """Check a command down to the names and settings of its methods, its budget and its prices."""
    if words[1].startswith("-"):
        assert words[1:] in (["--version"], ["--help"]), words
        return
    name, values = parse(root, words)
    given = values.get("method") or []
    if name in ("promptology fit", "promptology compare"):
        slugs = [given] if isinstance(given, str) else [slug for text in given for slug in text.split(",")]
        settings = assignments(values["settings"])
        for slug in slugs:
            if slug != "greedy-hints":  # the one that a page makes
                own = {k.removeprefix(f"{slug}."): v for k, v in settings.items() if k.startswith(f"{slug}.")}
                create(slug, settings if isinstance(given, str) else own)
    if values.get("budget"):
        Budget.parse(values["budget"])
    if values.get("price"):
        prices(values["price"])


def commands(page, outputs):
    """Return our commands in the blocks of a page; a command may follow an assignment or a time limit."""
    found = []
    for block in outputs.FENCE.finditer(page):
        if block["language"] == "console":
            lines = [step.command for step in outputs.steps(block["body"])]
        elif block["language"] in ("", "sh", "bash"):
            lines = re.sub(r" *\\\n *", " ", block["body"]).splitlines()
        else:
            continue
        for line in lines:
            words = outputs.arguments(line) if "promptology " in line else []
            at = words.index("promptology") if "promptology" in words else None
            if at is not None and all(re.match(r"\w+=|timeout|--signal|\d+$", word) for word in words[:at]):
                found.append(words[at:])
    return found


def test_every_command_is_of_the_real_grammar(pages, script, root):
    outputs = script("docs_outputs")
    found = {name: commands(page, outputs) for name, page in pages.items()}
    assert sum(map(len, found.values())) > 80
    for name in ("index.md", "cli.md", "zoo.md", "../README.md", "methods/spo.md", "cookbook/resume.md"):
        assert found[name], name
    for name, there in found.items():
        for words in there:
            try:
                check(root, words)
            except (ClickError, LookupError, pt.PromptologyError) as error:
                pytest.fail(f"{name}: {' '.join(words)}: {getattr(error, 'message', error)}")


@pytest.mark.parametrize(
    "line",
    [
        "promptology fitt --task a --model b",
        "promptology fit --task a --model b --bugdet 300calls",
        "promptology fit --task a",
        "promptology fit --task a --model b --method spoo",
        "promptology fit --task a --model b --method spo --set rouns=3",
        "promptology compare --task a --model b --method spo,manual --set spo.rouns=3",
        "promptology fit --task a --model b --budget 300cals",
        "promptology fit --task a --model b --price 1",
        "promptology zoo bild word-mlm",
    ],
)
def test_a_wrong_command_would_be_found(script, root, line):
    (words,) = commands(f"```console\n$ {line}\n```\n", script("docs_outputs"))
    with pytest.raises((ClickError, LookupError, pt.PromptologyError)):
        check(root, words)


def test_python_is_python_and_its_names_are_there(pages, script):
    seen = 0
    for name, page in pages.items():
        for block in script("docs_outputs").FENCE.finditer(page):
            if block["language"] != "python":
                continue
            for node in ast.walk(ast.parse(block["body"])):
                if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "pt":
                    seen += 1
                    assert hasattr(pt, node.attr), f"{name}: pt.{node.attr}"
    assert seen > 60


@pytest.fixture(scope="module")
def server(script):
    with script("docs_outputs").simulated() as url:
        yield url


@pytest.mark.usefixtures("own_methods")
@pytest.mark.parametrize("path", RUN)
def test_what_is_marked_prints_what_stands_there(script, server, path):
    if path.endswith(("peft.md", "index.md")):
        pytest.importorskip("torch", reason="torch is not installed, so examples with a local model are not run")
    outputs = script("docs_outputs")
    page = (ROOT / path).read_text(encoding="utf-8")
    now = outputs.rerun(page, server, {"messages.csv": script("docs_pages").messages()})
    assert outputs.masked(now) == outputs.masked(page), f"run python scripts/docs_outputs.py {path}"


def test_another_output_would_be_found(script, server):
    outputs = script("docs_outputs")
    page = "Text.\n\n<!-- run -->\n```console\n$ promptology methods manual\nlearns 7 things\n$ echo 'a b'\na b\n```\n"
    now = outputs.rerun(page, server, {})
    assert "manual: Use the current prompt as it is." in now and now.endswith("$ echo 'a b'\na b\n```\n")
    assert outputs.masked(now) != outputs.masked(page)
    assert outputs.rerun(now, server, {}) == now
    code = '<!-- run -->\n```python\nprint(2 + 3)\n```\n\n```text title="output"\n6\n```\n'
    assert outputs.rerun(code, server, {}) == code.replace("6", "5")
    with pytest.raises(RuntimeError, match="no-such-task"):
        outputs.rerun(page.replace("methods manual", "evaluate -t no-such-task -m simulated:tickets"), server, {})


def test_what_may_differ_is_left_out_and_nothing_else(script):
    masked = script("docs_outputs").masked
    page = "<!-- run -->\n```console\n$ x\n{}\n```\n"
    same = [("a  0.61 · 1.2 s", "a 0.61 · 31 s"), ("run 0123456789abcdef", "run fedcba9876543210"), ("-----", "-" * 9)]
    for one, other in same:
        assert masked(page.format(one)) == masked(page.format(other)), one
    for one, other in [("0.61", "0.62"), ("better", "worse"), ("3 calls", "4 calls")]:
        assert masked(page.format(one)) != masked(page.format(other)), one
    loose = page.replace("run", "run: figures differ")
    assert masked(loose.format("0.61 < 0.001 better")) == masked(loose.format("0.7 0.2 better"))
    assert masked(loose.format("0.61 better")) != masked(loose.format("0.61 no evidence"))


OURS = [s for s, c in methods().items() if c.cls.__module__.startswith("promptology.") and c.family != "people"]
"""Methods whose page holds an example; those with people name the page of the cookbook that has it."""


@pytest.mark.parametrize("slug", OURS)
def test_the_example_of_each_method_runs(script, slug, tmp_path, monkeypatch, capsys):
    outputs = script("docs_outputs")
    page = script("docs_pages").generated()[f"methods/{slug}.md"]
    (words,) = [w for w in commands(page, outputs) if w[1] == "fit"]
    blocks = [block for block in outputs.FENCE.finditer(page) if block["language"] == "python"]
    (code,) = [block["body"] for block in blocks if not block["more"]]
    for block in blocks:
        if title := re.search(r'title="([^"]+)"', block["more"]):
            (tmp_path / title[1]).write_text(block["body"], encoding="utf-8")
    model, budget = (words.index(option) + 1 for option in ("--model", "--budget"))
    if not words[model].startswith("simulated"):
        pytest.importorskip("torch", reason="torch is not installed, so examples with a local model are not run")
    # The same with less to spend, and with an encoder of a tenth of the size.
    less = "40calls" if words[model].startswith("simulated") else "700passes"
    code, words[budget] = code.replace(words[budget], less), less
    if words[model] == "minilm":
        code = code.replace("minilm", "zoo:word-t5").replace(
            "budget", 'prompt="{label}", readout="nearest-label", budget'
        )
        words[model] = "zoo:word-t5"
        words += ["--prompt", "{label}", "--readout", "nearest-label"]
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "argv", words)
    from promptology.cli.app import run

    assert run(words[1:]) == 0, capsys.readouterr().err
    assert f"\n{slug} " in capsys.readouterr().out
    exec(compile(code, slug, "exec"), {})
    assert re.search(r"^(accuracy: 0\.\d+ -> |start|not measured)", capsys.readouterr().out, re.M)


def test_the_method_of_the_tutorial_keeps_the_contract(script, tmp_path):
    """Its package is built from the page, installed into a folder of its own, and its own test is run."""
    outputs = script("docs_outputs")
    page = (ROOT / "docs" / "cookbook" / "own-method.md").read_text(encoding="utf-8")
    for block in outputs.FENCE.finditer(page):
        if title := re.search(r'title="(my-prompts/[^"]+)"', block["more"]):
            (tmp_path / title[1]).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / title[1]).write_text(block["body"], encoding="utf-8")
    package, site = tmp_path / "my-prompts", tmp_path / "site"
    outputs.install(package, site)
    assert len(list(site.glob("my_prompts-*.dist-info/entry_points.txt"))) == 1
    (package / "my_prompts" / "hints.py").unlink()  # so that it is the installed one which is tested
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "test_hints.py"],
        capture_output=True,
        text=True,
        cwd=package,
        env={**os.environ, "PYTHONPATH": f"{site}:{ROOT}"},
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed" in done.stdout
