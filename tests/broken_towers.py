"""Methods of two-tower models that each break one promise, in a module that other processes can import."""

from __future__ import annotations

from dataclasses import dataclass, replace

import promptology as pt
from promptology.models.access import Embeds, TwoTower
from promptology.predict.images import images_of


def method(slug, needs=TwoTower):
    return pt.method(slug, family="vision", learns="nothing", needs={"model": needs})


@method("past-the-towers")
@dataclass(frozen=True)
class PastTheTowers:
    """Ask the towers for vectors that nobody charges."""

    def fit(self, run):
        towers = run.model().towers()
        towers.features_of_images([one.image for one in images_of(run.task.train, run.task.signature)])
        return run.start


@method("leaves-a-mark")
@dataclass(frozen=True)
class LeavesAMark:
    """Leave the model in training mode."""

    def fit(self, run):
        run.model().towers().inner.train()
        return run.start


@method("reads-the-test")
@dataclass(frozen=True)
class ReadsTheTest:
    """Choose the wording by the labels of the test split."""

    def fit(self, run):
        wording = f"a {run.task.test[0].target} {{label}}"
        readout = replace(run.start.readout, options={"templates": [wording]})
        return run.start.with_parts(readout)


@method("looks-at-images", Embeds)
@dataclass(frozen=True)
class LooksAtImages:
    """Ask for more than it declares."""

    def fit(self, run):
        run.model().towers()
        return run.start
