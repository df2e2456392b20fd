"""AugMix: a picture mixed with what chains of mild operations make of it.

Dan Hendrycks, Norman Mu, Ekin D. Cubuk, Barret Zoph, Justin Gilmer, Balaji Lakshminarayanan, "AugMix: A Simple Data
Processing Method to Improve Robustness and Uncertainty", ICLR 2020, arXiv:1912.02781; operations and their strength as
test-time prompt tuning applies them to its crops (code of arXiv:2209.07511):

    w <- Dirichlet(1, 1, 1);  m <- Beta(1, 1)
    for each of 3 chains:  c_i <- the picture after 1 to 3 operations, each drawn anew at severity 1
    m picture + (1 - m) sum over i of w_i c_i

The mixture is made of 8-bit pixels and rounded to them; the code mixes what is normalised, which differs by rounding.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

Operation = Callable[["Picture", np.random.Generator], "Picture"]
CHAINS, LONGEST = 3, 3
SEVERITY, LEAST, FULL = 1.0, 0.1, 10.0
"""The strength of an operation is uniform from LEAST to SEVERITY, of FULL."""
AFFINE, BILINEAR = 0, 2
DEGREES, BITS, SHADES, SHEAR, PART = 30, 4, 256, 0.3, 3


def augmix(picture: Picture, rng: np.random.Generator) -> Picture:
    """Return a picture of 8-bit red, green and blue mixed with chains of operations on it; its size stays."""
    from PIL.Image import fromarray

    weights, kept = rng.dirichlet([1.0] * CHAINS), rng.beta(1.0, 1.0)
    mixed = np.zeros((picture.height, picture.width, 3))
    for weight in weights:
        chain = picture
        for _ in range(int(rng.integers(1, LONGEST + 1))):
            chain = OPERATIONS[int(rng.integers(len(OPERATIONS)))](chain, rng)
        mixed += weight * np.asarray(chain)
    return fromarray(np.rint(kept * np.asarray(picture) + (1 - kept) * mixed).astype(np.uint8))


def _strength(rng: np.random.Generator) -> float:
    """Draw the share of its most that an operation takes."""
    return float(rng.uniform(LEAST, SEVERITY)) / FULL


def _signed(value: float, rng: np.random.Generator) -> float:
    return -value if rng.random() > 0.5 else value


def _autocontrast(picture: Picture, rng: np.random.Generator) -> Picture:
    from PIL.ImageOps import autocontrast

    return autocontrast(picture)


def _equalize(picture: Picture, rng: np.random.Generator) -> Picture:
    from PIL.ImageOps import equalize

    return equalize(picture)


def _posterize(picture: Picture, rng: np.random.Generator) -> Picture:
    from PIL.ImageOps import posterize

    return posterize(picture, BITS - int(_strength(rng) * BITS))


def _solarize(picture: Picture, rng: np.random.Generator) -> Picture:
    from PIL.ImageOps import solarize

    return solarize(picture, SHADES - int(_strength(rng) * SHADES))


def _rotate(picture: Picture, rng: np.random.Generator) -> Picture:
    return picture.rotate(_signed(int(_strength(rng) * DEGREES), rng), BILINEAR)


def _moved(picture: Picture, *by: float) -> Picture:
    return picture.transform(picture.size, AFFINE, by, BILINEAR)


def _shear_x(picture: Picture, rng: np.random.Generator) -> Picture:
    return _moved(picture, 1, _signed(_strength(rng) * SHEAR, rng), 0, 0, 1, 0)


def _shear_y(picture: Picture, rng: np.random.Generator) -> Picture:
    return _moved(picture, 1, 0, 0, _signed(_strength(rng) * SHEAR, rng), 1, 0)


def _translate_x(picture: Picture, rng: np.random.Generator) -> Picture:
    return _moved(picture, 1, 0, _signed(int(_strength(rng) * picture.width / PART), rng), 0, 1, 0)


def _translate_y(picture: Picture, rng: np.random.Generator) -> Picture:
    return _moved(picture, 1, 0, 0, 0, 1, _signed(int(_strength(rng) * picture.height / PART), rng))


OPERATIONS: tuple[Operation, ...] = (
    _autocontrast,
    _equalize,
    _posterize,
    _rotate,
    _solarize,
    _shear_x,
    _shear_y,
    _translate_x,
    _translate_y,
)
"""What a chain is made of."""
