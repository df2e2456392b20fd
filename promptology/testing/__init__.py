"""Contracts for methods, models, sites and stores, ours and third parties'; plain functions, for any test framework.

from promptology.testing import check_method, check_model

def test_my_method_keeps_the_contract():
    check_method("my-method", settings={"rounds": 3})

def test_my_model_keeps_the_contract():
    check_model("mykind:small")

def test_my_transformers_model_takes_learned_parts():
    check_sites(MyModelForCausalLM(config))
"""

from promptology.testing.methods import check_method
from promptology.testing.models import check_model
from promptology.testing.promises import Checked
from promptology.testing.sites import check_sites
from promptology.testing.stores import check_store

__all__ = ["Checked", "check_method", "check_model", "check_sites", "check_store"]
