"""Tiny models for the tests of injection: written once a session, loaded anew for every test."""

from __future__ import annotations

import importlib.util

import pytest

if importlib.util.find_spec("torch") is None or importlib.util.find_spec("transformers") is None:
    collect_ignore_glob = ["test_*.py"]


@pytest.fixture(autouse=True)
def one_thread():
    """Small sums are slower on several threads, and their order would depend on the machine."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def folders(tmp_path_factory):
    """Return a function that gives the folder of a kind of model, made on demand."""
    from injecting import FOLDERS

    made = {}

    def folder(kind, **changes):
        key = kind, tuple(changes.items())
        if key not in made:
            make, settings = FOLDERS[kind]
            made[key] = make(tmp_path_factory.mktemp(kind), **{**settings, **changes})
        return made[key]

    return folder


@pytest.fixture
def model_of(folders):
    """Return a function that loads a model of a kind; `changes` are of its config."""

    from injecting import load

    def loaded(kind, head=None, attention="sdpa", dtype=None, **changes):
        settings = {} if dtype is None else {"dtype": dtype}
        return load(folders(kind, **changes), kind, head, attention, **settings)

    return loaded
