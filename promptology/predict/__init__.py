"""Prediction: scoring, evidence, `apply` and serving all go through `bind` and `predict`."""

from promptology.predict.predictor import Predictions, Predictor, bind, joined, predict_many

# Importing the files registers the readouts and procedures they hold.
from promptology.predict import answers, cloze, heads, images, likelihood, networks, recalling, vectors, view_tuning  # isort: skip

__all__ = [
    "Predictions",
    "Predictor",
    "answers",
    "bind",
    "cloze",
    "heads",
    "images",
    "joined",
    "likelihood",
    "networks",
    "predict_many",
    "recalling",
    "vectors",
    "view_tuning",
]
