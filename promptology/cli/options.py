"""Options that evaluate, fit and compare share, and how they become tasks, models and settings."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import math
import os
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from promptology.cli.functions import function, opened_views
from promptology.errors import UsageError

ROLES = ("model", "optimizer", "judge")
O = typer.Option  # noqa: E741  (an option per line reads best with a short name)


INSIDE = {kind: ("device", "dtype", "bits") for kind in ("hf", "zoo")} | {"minilm": ("device", "dtype")}
"""Settings of models that run in this process, by kind."""
WORKERS = "give a number of requests in flight, or in compare ray or ray:N (N runs at a time as Ray tasks)"


@dataclass
class Common:
    """The grammar that is the same everywhere."""

    task: Annotated[
        str,
        O(
            "--task",
            "-t",
            metavar="FILE|FOLDER|NAME|hf:NAME|wordland:KIND|toyland:KIND",
            help="CSV, TSV, JSON, JSONL or Parquet file, a folder of splits, a folder of images with a sub-folder for "
            "each class, a bundled task, hf:NAME[:CONFIG] or hf:FOLDER for what the datasets library loads, or a task "
            "made up on the spot: wordland:KIND[?seed=0&train=200&test=500] or toyland:KIND[?...] (`promptology zoo "
            "list` names the kinds), simulated:trap or simulated:chain (for the simulated models of these names).",
        ),
    ]
    model: Annotated[
        str,
        O(
            "--model",
            "-m",
            help='"minilm", "openai:NAME@URL", "completions:NAME@URL" (base models), "embeddings:NAME@URL" (vectors of '
            'texts), "hf:FOLDER_OR_ID" (causal, masked, encoder-decoder, encoder, CLIP, SigLIP of transformers), '
            '"zoo:NAME" (`promptology zoo list`), "simulated:WORLD", "module:function" or a plug-in\'s.',
        ),
    ]
    text: Annotated[str | None, O("--text", metavar="COL[,COL]", help="Input columns.")] = None
    image: Annotated[
        str | None, O("--image", metavar="COL", help="Input column of images: paths, or bytes in a Parquet file.")
    ] = None
    label: Annotated[str | None, O("--label", metavar="COL", help="Label column.")] = None
    test: Annotated[
        str | None, O("--test", metavar="FILE", help="Test file; without it a sealed test split is drawn.")
    ] = None
    unlabeled: Annotated[
        str | None,
        O("--unlabeled", metavar="FILE", help="File of inputs without labels, to learn from."),
    ] = None
    metric: Annotated[
        str | None,
        O(
            "--metric",
            metavar="NAME|module:name",
            help="accuracy, macro-f1, micro-f1; jaccard, exact-match for several classes; exact-match, token-f1, "
            "rouge-l, bleu, edit-cost for texts; span-f1 for spans; kendall-tau, ndcg, mrr for rankings; judge (a "
            "model grades, see --judge); or your function or metric object. Default: what fits the answers.",
        ),
    ] = None
    output: Annotated[
        str | None,
        O(
            "--output",
            metavar="class|classes|text|spans|ranking",
            help="What a label is: one class, several (a list, or a text parted by ; | or ,), a text (a list: several "
            "right ones), texts that stand in the input, the right order of the candidates in a --text column. "
            "Default: labels that repeat are classes.",
        ),
    ] = None
    prompt: Annotated[str | None, O("--prompt", metavar="FILE|TEXT", help="Your current prompt: the start.")] = None
    readout: Annotated[
        str,
        O(
            "--readout",
            metavar="NAME",
            help="How the start reads the model: answer (it generates), label-likelihood (the likeliest class name, "
            "for completions:...; label-likelihood:bytes per byte), nearest-label; default: by what the model offers.",
        ),
    ] = ""
    system: Annotated[str | None, O("--system", metavar="TEXT", help="System prompt of the start.")] = None
    optimizer: Annotated[
        str | None, O("--optimizer", metavar="MODEL", help="Model that writes prompts; default: --model.")
    ] = None
    judge: Annotated[
        str | None, O("--judge", metavar="MODEL", help="Model that compares or grades outputs; default: --model.")
    ] = None
    encoder: Annotated[
        str | None, O("--encoder", metavar="MODEL", help="Model that embeds contexts; default: --model.")
    ] = None
    policy: Annotated[
        str | None, O("--policy", metavar="MODEL", help="Small model that learns to write a hint for each input.")
    ] = None
    views: Annotated[
        str | None,
        O("--views", metavar="module:function", help="What makes pictures of a picture, such as a generator."),
    ] = None
    budget: Annotated[
        str | None, O("--budget", "-b", help="Limits in any mix: 300calls,2usd,500ktok,20000passes,10m.")
    ] = None
    evidence_share: Annotated[float, O("--evidence-share", help="Share of the budget kept for evidence.")] = 0.4
    price: Annotated[
        list[str] | None,
        O(
            "--price",
            metavar="[ROLE=]IN,OUT",
            help="US dollars per million tokens, in and out; for one role (--price optimizer=3,15) or for all others.",
        ),
    ] = None
    rpm: Annotated[float | None, O("--rpm", help="Requests per minute at most.")] = None
    workers: Annotated[
        str | None,
        O(
            "--workers",
            metavar="N|ray|ray:N",
            help="Requests in flight at most (default 16); in compare also ray: arms x seeds as Ray tasks, "
            "ray:N so many at a time, each with 16 requests in flight.",
        ),
    ] = None
    timeout: Annotated[float | None, O("--timeout", help="Seconds until a request is hung (default 120).")] = None
    max_tokens: Annotated[int | None, O("--max-tokens", help="Longest answer of the task's model, in tokens.")] = None
    temperature: Annotated[float | None, O("--temperature", help="Temperature of the task's model (default 0).")] = None
    key_env: Annotated[str | None, O("--key-env", metavar="NAME", help="Environment variable that holds the key.")] = (
        None
    )
    device: Annotated[
        str | None,
        O("--device", metavar="cpu|cuda|mps|auto", help="Where local models run (default: a GPU where there is one)."),
    ] = None
    dtype: Annotated[
        str | None,
        O(
            "--dtype",
            metavar="float32|bfloat16|float16|auto",
            help="What hf: and zoo: models compute in (default: bfloat16 on a GPU that can, else float32).",
        ),
    ] = None
    bits: Annotated[
        int | None,
        O("--bits", metavar="4|8", help="Hold the weights of hf: and zoo: models in so few bits (bitsandbytes)."),
    ] = None
    cache: Annotated[str, O("--cache", metavar="on|off", help="Use answers of earlier runs.")] = "on"
    missing: Annotated[float, O("--missing", help="Share of missing answers that stops the run.")] = 0.2
    noise_floor: Annotated[
        int,
        O("--noise-floor", metavar="N", help="Ask the measured prompt a second time on N items: how much is noise."),
    ] = 0
    max_prompt_tokens: Annotated[
        int, O("--max-prompt-tokens", metavar="N", help="Longest prompt, in tokens without the input.")
    ] = 0
    seed: Annotated[int, O("--seed", help="Seed of everything random.")] = 0
    split_seed: Annotated[
        int,
        O(
            "--split-seed",
            help="Seed of drawn splits, apart from --seed so that the test split stays sealed.",
        ),
    ] = 0
    json: Annotated[bool, O("--json", help="Print one JSON document; notes go to standard error.")] = False
    nonce: Annotated[str, O("--nonce", hidden=True)] = ""

    def load(self) -> Any:
        """Return the task, with notes said aloud."""
        from promptology.cli.showing import say
        from promptology.data.loaders import load_task

        task = load_task(
            self.task,
            text=self.text,
            image=self.image,
            label=self.label,
            test=self.test,
            unlabeled=self.unlabeled,
            metric=self.metric,
            output=self.output,
            split_seed=self.split_seed,
        )
        for note in task.notes:
            say(f"note: {note}")
        return task

    def open(self, source: str) -> Any:
        """Return a model from its text, with the connection settings of this command, or those of local models."""
        settings = {"rpm": self.rpm, "workers": self.in_flight(), "timeout": self.timeout, "key_env": self.key_env}
        return opened(source, {**settings, "device": self.device, "dtype": self.dtype, "bits": self.bits})

    def in_flight(self) -> int | None:
        """Return the limit of requests in flight, None where --workers is not given or asks for Ray."""
        if self.workers is None or self.on_ray():
            return None
        if not re.fullmatch(r"[1-9][0-9]{0,5}", self.workers):
            raise UsageError(f"--workers {self.workers!r} is not understood; {WORKERS}")
        return int(self.workers)

    def on_ray(self) -> str | None:
        """Return the --workers that asks for Ray."""
        if self.workers is None or not self.workers.startswith("ray"):
            return None
        if not re.fullmatch(r"ray(:[1-9][0-9]{0,5})?", self.workers):
            raise UsageError(f"--workers {self.workers!r} is not understood; {WORKERS}")
        return self.workers

    def refuse_ray(self, command: str) -> None:
        """Raise where --workers asks for Ray and there is but one run."""
        if self.on_ray():
            raise UsageError(
                f"--workers {self.workers}: {command} is one run, give a number of requests in flight; "
                "Ray runs the arms and seeds of compare"
            )

    def helpers(self) -> dict[str, Any]:
        """Return the helper models that were named."""
        given = {"optimizer": self.optimizer, "judge": self.judge, "encoder": self.encoder, "policy": self.policy}
        found = {role: self.open(source) for role, source in given.items() if source}
        return {**found, "views": opened_views(self.views)} if self.views else found

    def start(self) -> str | None:
        """Return the current prompt, read from a file where it names one."""
        return read_prompt(self.prompt) if self.prompt is not None else None

    def options(self, argv: Sequence[str] = ()) -> dict[str, Any]:
        """Return the run settings as keyword arguments of the public calls."""
        if self.cache not in ("on", "off"):
            raise UsageError(f"--cache is on or off, not {self.cache!r}")
        sampling = {"max_tokens": self.max_tokens, "temperature": self.temperature}
        sampling = {k: v for k, v in sampling.items() if v is not None}
        return {
            "seed": self.seed,
            "cache": self.cache == "on",
            "price": prices(self.price) if self.price else None,
            "sampling": {"model": sampling} if sampling else {},
            "evidence_share": self.evidence_share,
            "missing": self.missing,
            "nonce": self.nonce,
            "readout": self.readout,
            "noise_floor": self.noise_floor,
            "max_prompt_tokens": self.max_prompt_tokens,
        }


def common(command: Callable[..., Any], without: Sequence[str] = ()) -> Callable[..., Any]:
    """Give a command the shared options; it receives them as its first argument, a `Common`.

    `without`: names of options that it does not have or has in a form of its own; they are empty in its `Common`.
    """
    own = inspect.signature(command, eval_str=True).parameters
    fields = {f.name: f for f in dataclasses.fields(Common) if f.name not in without}
    empty: dict[str, Any] = {
        f.name: "" for f in dataclasses.fields(Common) if f.name in without and f.default is dataclasses.MISSING
    }
    hints = inspect.get_annotations(Common, eval_str=True)
    shared = [
        inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            default=inspect.Parameter.empty if f.default is dataclasses.MISSING else f.default,
            annotation=hints[name],
        )
        for name, f in fields.items()
    ]
    rest = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for n, p in own.items() if n != "shared"]

    @functools.wraps(command)
    def wrapper(**values: Any) -> Any:
        given = Common(**empty, **{name: values.pop(name) for name in fields})
        return command(given, **values)

    wrapper.__signature__ = inspect.Signature([*shared, *rest])  # type: ignore[attr-defined]
    wrapper.__annotations__ = {p.name: p.annotation for p in [*shared, *rest]}
    return wrapper


def opened(source: str, settings: Mapping[str, Any]) -> Any:
    """Return a model from its text; of the settings it gets those that were given and that its kind takes."""
    from promptology.models.opening import KINDS, REMOTE, is_kind, model

    kind = source.partition(":")[0]
    given = {name: value for name, value in settings.items() if value is not None}
    if kind in INSIDE:
        return model(source, **{name: value for name, value in given.items() if name in INSIDE[kind]})
    if kind in REMOTE:
        return model(source, **{name: value for name, value in given.items() if name not in INSIDE["hf"]})
    if ":" in source and not is_kind(source):
        return model(function(source), **{k: v for k, v in given.items() if k == "workers"})
    # What else comes with the package runs here, without a connection; an installed kind takes what it knows.
    return model(source) if kind in KINDS else model(source, **given)


def read_prompt(given: str) -> str:
    """Return the text of a prompt that is given as itself or as a file."""
    path = Path(given)
    if len(given) > 1024 or "\n" in given:
        return given
    if path.is_dir():
        raise UsageError(f"--prompt {given} is a folder; a saved prompt folder is measured by `promptology evaluate`")
    if not path.is_file():
        if " " not in given.strip() and (path.suffix or os.sep in given):
            raise UsageError(f"prompt file {given} does not exist")
        return given
    try:
        text = path.read_text(encoding="utf-8").strip()
    except UnicodeDecodeError:
        raise UsageError(f"prompt file {given} is not UTF-8 text") from None
    if not text:
        raise UsageError(f"prompt file {given} is empty")
    return text


def prices(given: Sequence[str]) -> dict[str, tuple[float, float]]:
    """Return (in, out) per role from "IN,OUT" and "ROLE=IN,OUT"; the plain one holds for the roles not named."""
    by_role: dict[str, tuple[float, float]] = {}
    for text in given:
        role, _, figures = text.rpartition("=")
        try:
            price_in, price_out = (float(part) for part in figures.split(","))
        except ValueError:
            raise UsageError(
                f"--price takes [ROLE=]IN,OUT, two figures in dollars per million tokens, got {text!r}"
            ) from None
        if not (0 <= price_in < math.inf and 0 <= price_out < math.inf):
            raise UsageError(f"--price takes figures of 0 or more, got {text!r}")
        if role in by_role:
            raise UsageError(f"--price is given twice for {role or 'all roles'}")
        if role not in ("", *ROLES):
            raise UsageError(f"--price {text!r}: there is no role {role!r}; there are {', '.join(ROLES)}")
        by_role[role] = (price_in, price_out)
    rest = by_role.pop("", None)
    return by_role if rest is None else {**dict.fromkeys(ROLES, rest), **by_role}


def assignments(pairs: Sequence[str]) -> dict[str, str]:
    """Return FIELD=VALUE pairs as a mapping."""
    values: dict[str, str] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise UsageError(f"--set takes FIELD=VALUE, got {pair!r}")
        values[name.strip()] = value.strip()
    return values


def named(texts: Sequence[str], option: str, must: bool = False) -> list[tuple[str, str]]:
    """Return (name, rest) of texts that may begin with NAME=, the name empty where none is given.

    A name holds no space and no sign of a path or of wordland:KIND?seed=1. Raises UsageError for one name twice, and
    with `must` for a text without one.
    """
    found: list[tuple[str, str]] = []
    for text in texts:
        match = re.fullmatch(r"([^\s=:/?\\]+)=(.+)", text, re.DOTALL)
        if must and not match:
            raise UsageError(f"{option} takes NAME=SPEC, got {text!r}")
        name, rest = (match[1], match[2]) if match else ("", text)
        if name and name in [other for other, _ in found]:
            raise UsageError(f"{option}: the name {name!r} stands twice")
        found.append((name, rest))
    return found


def command_line(argv: Sequence[str]) -> str:
    """Return the command as a user would type it again."""
    return shlex.join(["promptology", *argv])


def origin(argv: Sequence[str], nonce: str) -> Mapping[str, Any]:
    """Return how to start this command again from anywhere."""
    again = list(argv)
    if nonce and "--nonce" not in again:
        again += ["--nonce", nonce]
    return {"argv": again, "cwd": str(Path.cwd())}
