"""Folders of tiny models, built once per run of the tests."""

from __future__ import annotations

import pytest
import torch
from tiny import BUILDERS

import promptology as pt


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def folders(tmp_path_factory):
    """Return a function from a name to the folder of that model."""
    built = {}

    def folder(name):
        if name not in built:
            built[name] = BUILDERS[name](tmp_path_factory.mktemp("tiny") / name)
        return built[name]

    return folder


@pytest.fixture(scope="session")
def opened(folders):
    """Return a function from a name to that model, opened once."""
    models = {}

    def model(name):
        if name not in models:
            models[name] = pt.model(f"hf:{folders(name)}")
        return models[name]

    return model
