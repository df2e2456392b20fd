"""The package as a whole: light import, complete names, one store per home."""

from __future__ import annotations

import subprocess
import sys

import promptology as pt

HEAVY = ("torch", "scipy", "aiohttp", "jinja2", "transformers", "safetensors", "typer", "numpy", "sklearn")


def loaded(code):
    check = f"{code}\nimport sys\nprint(*[m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    return done.stdout.split()


def test_import_loads_nothing_heavy():
    assert loaded("import promptology") == []


def test_loading_a_task_and_a_model_stays_light():
    code = "import promptology as pt; pt.load_task('tickets'); pt.model(print); pt.model('openai:m@http://127.0.0.1:9')"
    assert set(loaded(code)) <= {"numpy"}


def test_every_public_name_is_there():
    for name in pt.__all__:
        assert getattr(pt, name) is not None
    assert set(pt.__all__) <= set(dir(pt))


def test_help_loads_nothing_heavy_but_the_command_line():
    quiet = "with contextlib.redirect_stdout(io.StringIO()): run(['--help'])"
    assert set(loaded(f"import contextlib, io\nfrom promptology.cli.app import run\n{quiet}")) <= {"typer"}
