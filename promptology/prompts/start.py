"""The start: the user's current prompt, or a plain one, in the form that the model's access can use."""

from __future__ import annotations

from collections.abc import Sequence

from promptology.data.items import Signature
from promptology.errors import AccessError, UsageError
from promptology.models.access import verb
from promptology.prompts.learned import Learned, Readout, Text
from promptology.prompts.render import placeholders

LABEL_FIELDS = ("label", "description")
LIKELIHOOD = {"cue": "\n\nAnswer:", "choice": " {label}", "normalise": "none"}
"""Options of readout label-likelihood.

Options are compared by their likelihood behind a cue, as in Brown et al. 2020 (arXiv:2005.14165, section 2.4). The
default "none" takes the probability of the whole name; "bytes" divides its logarithm by the length of the name, for
names of very different lengths, and needs no tokenizer as their division by tokens does.
"""
NORMALISE = ("none", "bytes")
STARTS = ("answer", "label-likelihood", "nearest-label", "class-features")
PHOTO = "a photo of a {label}."
"""How CLIP's users word a class where nothing is known of the images (arXiv:2103.00020, section 3.1.4)."""
MARGIN = 0.05
"""Cosine by which a class may lie below the best one and still apply, where several may."""


def start_from(signature: Signature, access: Sequence[str], readout: str = "") -> Learned:
    """Return the start for a model with this access, read the way that `readout` names (default: by the access).

    A model that generates takes the instruction; one that only scores takes it too, and the likeliest class name is
    the answer; one that only embeds takes nearest label names, or the instruction as a label wording where it holds
    {label} or {description}. Raises AccessError or UsageError where none fits.
    """
    name, _, normalise = (readout or _readout(access, signature)).partition(":")
    if name not in STARTS:
        raise UsageError(f"unknown readout {name!r}; there are {', '.join(STARTS)}")
    if normalise and (name != "label-likelihood" or normalise not in NORMALISE):
        raise UsageError(f"readout {readout!r} is not understood; write label-likelihood or label-likelihood:bytes")
    needed = {"answer": "generates", "label-likelihood": "scores", "nearest-label": "embeds"}.get(name, "two-tower")
    if signature.images and (name != "class-features" or needed not in access):
        raise AccessError(
            f"field {signature.images[0]!r} holds images, which a model with two towers reads (a CLIP or SigLIP) "
            f"by readout class-features; what may be used here offers {', '.join(access) or 'nothing'}"
        )
    if needed not in access:
        offered = ", ".join(access) or "nothing"
        raise AccessError(f"readout {name!r} needs a model that {verb(needed)}; what may be used here offers {offered}")
    if name in ("nearest-label", "class-features"):
        return _nearest(signature, name)
    text = Text(signature.instruction or default_instruction(signature), signature.system)
    if name == "answer":
        return Learned((text, Readout("answer")), signature, {"model": "generates"}, "manual")
    if signature.output != "class":
        raise AccessError(f"a likelihood can only tell one class from others; this task's output is {_what(signature)}")
    options = {**LIKELIHOOD, "normalise": normalise or LIKELIHOOD["normalise"]}
    return Learned((text, Readout("label-likelihood", options)), signature, {"model": "scores"}, "manual")


def _readout(access: Sequence[str], signature: Signature) -> str:
    if signature.images:
        return "class-features"
    if {"differentiable", "scores"} <= {*access} and signature.output == "class":
        return "label-likelihood"  # a model in this process: every class is compared exactly, nothing is parsed
    for offered, name in (("generates", "answer"), ("scores", "label-likelihood"), ("embeds", "nearest-label")):
        # What a likelihood cannot tell, vectors may: a masked language model has both.
        if offered in access and (name != "label-likelihood" or signature.output == "class" or "embeds" not in access):
            return name
    offered = ", ".join(access) or "nothing"
    raise AccessError(f"a prompt needs a model that generates, scores or embeds; this one offers {offered}")


def _what(signature: Signature) -> str:
    names = {"classes": "several classes", "spans": "spans", "ranking": "a ranking"}
    return names.get(signature.output, "free text")


def _nearest(signature: Signature, name: str) -> Learned:
    images = name == "class-features"
    if signature.output not in ("class", "classes"):
        raise AccessError(f"an embedding model can only tell classes apart; this task's output is {_what(signature)}")
    wording = signature.instruction or (PHOTO if images else "{label}")
    if signature.system:
        raise UsageError("an embedding model takes no system prompt")
    if images:
        lines = [line.strip() for line in wording.splitlines() if line.strip()]
        return Learned((class_features(signature, lines),), signature, {"model": "two-tower"}, "manual")
    wordings = nearest_label(signature, checked_wording(wording), "{input}")
    return Learned((wordings,), signature, {"model": "embeds"}, "manual")


def checked_wording(wording: str) -> str:
    """Return the wording of a class; {} stands for {label}, as CLIP's users write it.

    Raises UsageError where nothing in it stands for the class.
    """
    wording = wording.replace("{}", "{label}")
    if not placeholders(wording, LABEL_FIELDS):
        raise UsageError(
            "with an embedding model a prompt is a wording of the labels that holds {label} or {description}, "
            f"such as 'a message about {{label}}'; got {wording[:60]!r}"
        )
    return wording


def class_features(signature: Signature, templates: Sequence[str], margin: float = MARGIN) -> Readout:
    """Return the readout of an image by wordings of the classes; with the margin where several classes may apply."""
    options: dict[str, object] = {"templates": [checked_wording(t) for t in templates]}
    return Readout("class-features", {**options, "margin": margin} if signature.output == "classes" else options)


def nearest_label(signature: Signature, label: str, input: str, margin: float = MARGIN) -> Readout:
    """Return the readout of these wordings; where several classes may apply, with the margin that tells which do."""
    options: dict[str, str | float] = {"label_template": label, "input_template": input}
    return Readout("nearest-label", {**options, "margin": margin} if signature.output == "classes" else options)


ORDER = "Put the candidates in the right order."


def default_instruction(signature: Signature) -> str:
    """Return a plain instruction for a task that came without one."""
    names = " and ".join(f.name for f in signature.fields)
    if signature.output == "class":
        return f"Classify the {names}."
    if signature.output == "classes":
        return f"Name all classes that apply to the {names}."
    if signature.output == "spans":
        return f"List the parts of the {names} that are asked for."
    if signature.output == "ranking":
        others = [f.name for f in signature.fields if f.kind != "list"]
        return f"Put the candidates in the right order for the {' and '.join(others)}." if others else ORDER
    return f"Give the right answer for the {names}."
