"""The contract of sites: what every model promises in which learned parts shall be put, ours or a third party's."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from promptology.testing.probing import LENGTH, ROWS, STEPS, TOKENS, Probe
from promptology.testing.promises import Checked


def check_sites(model: Any) -> Checked:
    """Check the sites of a model; raises AssertionError that names the model and the promise it breaks.

    `model`: a transformers module, or what `promptology.model` returns for one (its frozen model is taken).

    The promises:

    - parts: every path of the architecture's table leads to a module in every block;
    - fillers: at every site that is available a neutral part changes nothing, and a random one changes the output;
    - prompts: virtual tokens at input equal the same embeddings in front of the text's, on texts padded on either side
      too; one prompt per row, of equal length or not, equals row by row;
    - prefixes: tokens read once by `encode_prefix` equal tokens read with each row;
    - generation: with a cache it equals computing everything anew;
    - gradients reach the part and no weight of the model;
    - detached: afterwards the model is what it was, to the bit.

    Returns what was checked, and what could not be with the reason.
    """
    from promptology.injection import sites_of

    model = model.frozen().model if hasattr(model, "frozen") else model
    sites_of(model)  # one clear line where it is none
    checked = Checked(f"model {type(model).__name__}")
    with _quiet(model):
        probe = Probe(checked, model)
        _check_parts(checked, probe)
        for name, why in probe.sites.missing.items():
            checked.skip(name, why)
        before = probe.made_of()
        plain = probe.outputs()
        _check_fillers(checked, probe)
        for stack in probe.sites.stacks:
            if f"{stack}.input" in probe.sites.available:
                _check_prompts(checked, probe, stack)
        _check_prefixes(checked, probe)
        _check_generation(checked, probe)
        checked.promise(probe.made_of() == before, "what was attached left traces: hooks, weights, mode or attention")
        same = all(one.equal(other) for one, other in zip(plain, probe.outputs(), strict=True))
        checked.promise(same, "detached, it gives another output than before, if only by a bit")
        checked.passed("detached")
    return checked


@contextmanager
def _quiet(model: Any) -> Iterator[None]:
    """Keep a model in eval mode with frozen weights and no gradients; all are restored."""
    from promptology.injection.attaching import frozen_mode

    before = [(p, p.requires_grad, p.grad) for p in model.parameters()]
    try:
        for parameter, _, _ in before:
            parameter.requires_grad_(False)
            parameter.grad = None
        with frozen_mode(model):
            yield
    finally:
        for parameter, trained, gradient in before:
            parameter.requires_grad_(trained)
            parameter.grad = gradient


def _check_parts(checked: Checked, probe: Probe) -> None:
    """Check that a table tells the truth about every block."""
    from promptology.injection.arch import find

    if not probe.sites.known:
        return checked.skip("parts", f"no table describes {probe.model.config.model_type!r}")
    for name, stack in probe.sites.stacks.items():
        module = find(probe.model.base_model, stack.path)
        for path in (stack.embeddings, stack.layers, stack.norm):
            checked.promise(find(module, path) is not None, f"its table says {path!r} in stack {name!r}: nothing there")
        block = stack.block
        paths = (block.attention, block.core, block.mlp, *block.norms, block.query, block.key, block.value, block.out)
        for i, layer in enumerate(find(module, stack.layers)):
            for path in (*paths, *([block.cross] if block.cross else [])):
                there = bool(path) and find(layer, path) is not None
                checked.promise(there, f"its table says {path!r} in each block of {name!r}: block {i} lacks it")
    checked.passed("parts")


def _check_fillers(checked: Checked, probe: Probe) -> None:
    """Check every site with a part that changes nothing and with one that does, and the gradient of that one."""
    plain = probe.outputs()
    if not probe.sites.available:
        return checked.skip("fillers", "no site is available")
    for site in probe.sites.available:
        stack, place = site.split(".")
        place = place.split("[")[0]
        neutral, filled, learned = _fillers(probe, site, stack, place)
        for parts in neutral:
            found = _outputs_under(probe, parts)
            apart, what = probe.apart(found, plain), f"a neutral part at {site} changes the output"
            if place.endswith("key_value"):
                # Nothing that attention sees is neutral; but what the first row has must not be seen by the others.
                apart = probe.apart([t[1:] for t in found], [t[1:] for t in plain])
                what = f"keys and values of one row at {site} change the output of another"
            checked.promise(apart <= probe.same, f"{what} by {apart:.2g}")
        apart = probe.apart(_outputs_under(probe, filled), _outputs_under(probe, _without(filled, site, probe)))
        checked.promise(apart > probe.same, f"a part at {site} changes nothing: its site is not where it says")
        _check_gradient(checked, probe, site, filled, learned)
    checked.passed("fillers")
    checked.passed("gradients")


def _fillers(probe: Probe, site: str, stack: str, place: str) -> tuple[list[Any], list[Any], list[Any]]:
    """Return parts that change nothing, parts that change the output, and the leaves of the latter."""
    from promptology.injection import Filling

    if place.endswith("key_value"):
        one, leaves = probe.key_values(stack, place)
        none = [[value, *[value[:, :0]] * (ROWS - 1)] for value in leaves]
        empty = [Filling(filling.site, rows) for filling, rows in zip(one, none, strict=True)]
        return [empty], one, [leaves[int(site.split("[")[1][:-1])]]
    width = probe.width(stack)
    if place == "last_position":
        state = (3 * probe.normal(width)).requires_grad_()
        return [[Filling(site, 0 * state.detach())]], [Filling(site, state)], [state]
    if place == "input":
        prompt = probe.prompt(stack).requires_grad_()
        return [[Filling(site, probe.module())]], [Filling(site, prompt)], [prompt]
    part = probe.module(width)
    return [[Filling(site, probe.module())]], [Filling(site, part)], [part.by]


def _without(fillings: Sequence[Any], site: str, probe: Probe) -> list[Any]:
    """Return fillings without the one at a site; keys and values of that layer are other ones."""
    return [
        f._replace(filler=probe.normal(*f.filler.shape)) if f.site == site else f
        for f in fillings
        if f.site != site or "key_value" in site
    ]


def _outputs_under(probe: Probe, fillings: Sequence[Any], **batch: Any) -> list[Any]:
    import torch

    from promptology.injection import attach

    try:
        with torch.no_grad(), attach(probe.model, fillings):
            return probe.outputs(**batch)
    except Exception as error:  # a table that is wrong breaks a forward in many ways
        sites = ", ".join(f.site for f in fillings) or "no site"
        raise AssertionError(f"{probe.checked.about}: filled at {sites}, it raised {_line(error)}") from error


def _line(error: Exception) -> str:
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"


def _check_gradient(checked: Checked, probe: Probe, site: str, fillings: Sequence[Any], leaves: Sequence[Any]) -> None:
    from promptology.injection import attach

    with attach(probe.model, fillings):
        sum(t.float().square().mean() for t in probe.outputs() if t.requires_grad).backward()
    for leaf in leaves:
        reached = leaf.grad is not None and bool(leaf.grad.isfinite().all()) and bool(leaf.grad.any())
        checked.promise(reached, f"no gradient reaches what is learned at {site}, or one that is not finite")
    clean = all(p.grad is None for p in probe.model.parameters())
    checked.promise(clean, f"a gradient of what is learned at {site} reaches a frozen weight")


def _check_prompts(checked: Checked, probe: Probe, stack: str) -> None:
    """Check virtual tokens against embeddings in front of the text, padding, and one prompt per row."""
    import torch

    from promptology.injection import Filling

    site, prompt = f"{stack}.input", probe.prompt(stack)
    ids = probe.batch["input_ids"]
    text = probe.embeddings(stack)(ids)
    if _embeds(probe, stack):
        joined = torch.cat([prompt.to(text.dtype).expand(ROWS, -1, -1), text], dim=1)
        given = {k: v for k, v in probe.batch.items() if k != "input_ids"}
        expected = probe.outputs(**given, inputs_embeds=joined)
        found = _outputs_under(probe, [Filling(site, prompt)])
        # What is pooled is pooled over other tokens there.
        pairs = [(a, b) for a, b in zip(found, expected, strict=True) if a.dim() > 2]
        apart = probe.apart(*zip(*pairs, strict=True))
        text_ = f"virtual tokens at {site} differ by {apart:.2g} from the same embeddings in front of the text"
        checked.promise(apart <= probe.same, text_)
        checked.passed(f"{site}: prompts")
    else:
        checked.skip(f"{site}: prompts", "it takes no inputs_embeds to compare with")
    rows = probe.prompt(stack, ROWS)
    ragged = [rows[i, : LENGTH - i] for i in range(ROWS)]
    for filler, what in ((rows, "one prompt per row"), (ragged, "prompts of different lengths")):
        found = _outputs_under(probe, [Filling(site, filler)])
        for i in range(ROWS):
            alone = _outputs_under(probe, [Filling(site, filler[i])], **_row(probe.batch, i))
            apart = probe.apart([t[i : i + 1] for t in found], alone)
            text_ = f"{what} at {site}: row {i} differs by {apart:.2g} from the row alone"
            checked.promise(apart <= probe.same, text_)
    checked.passed(f"{site}: rows")
    for side in ("left", "right"):
        _check_padding(checked, probe, site, rows, side)


def _embeds(probe: Probe, stack: str) -> bool:
    from inspect import signature

    return "inputs_embeds" in signature(probe.model.forward).parameters and stack != "decoder"


def _row(batch: dict[str, Any], i: int, start: int = 0, end: int | None = None) -> dict[str, Any]:
    """Return one row of a batch, cut to some of its tokens."""
    cut = {"input_ids", "attention_mask", "position_ids"}
    return {k: v[i : i + 1, start:end] if k in cut else v[i : i + 1] for k, v in batch.items()}


def _check_padding(checked: Checked, probe: Probe, site: str, rows: Any, side: str) -> None:
    """Check that a padded row gives at its tokens what it gives alone, where it does so with nothing attached."""
    import torch

    from promptology.injection import Filling

    batch = {**probe.batch, "attention_mask": torch.ones_like(probe.batch["input_ids"])}
    start, end = (2, TOKENS) if side == "left" else (0, TOKENS - 2)
    padded = torch.ones(TOKENS, dtype=torch.bool, device=probe.model.device)
    padded[start:end] = False
    pad = getattr(probe.model.config, "pad_token_id", None)
    batch["input_ids"] = batch["input_ids"].clone()
    batch["input_ids"][1, padded] = 0 if pad is None else pad
    batch["attention_mask"][1, padded] = 0
    if probe.sites.kind == "causal" and _takes_positions(probe):
        batch["position_ids"] = (batch["attention_mask"].cumsum(dim=1) - 1).clamp(min=0)
    row = {k: v for k, v in _row(batch, 1, start, end).items() if k != "position_ids"}

    def apart(whole: Sequence[Any], alone: Sequence[Any]) -> float:
        cut = [t[1:2] if t.dim() < 3 or t.shape[1] != TOKENS else t[1:2, start:end] for t in whole]
        pairs = [(a, b) for a, b in zip(cut, alone, strict=True) if a.shape == b.shape]
        checked.promise(bool(pairs), f"no output at {site} has one row per text, with its tokens")
        return probe.apart([a for a, _ in pairs], [b for _, b in pairs])

    name = f"{site}: padding on the {side}"
    plain = apart(_outputs_under(probe, [], **batch), _outputs_under(probe, [], **row))
    if plain > probe.same:
        return checked.skip(name, f"with nothing attached a padded row differs by {plain:.2g} from the row alone")
    found = apart(
        _outputs_under(probe, [Filling(site, rows)], **batch), _outputs_under(probe, [Filling(site, rows[1])], **row)
    )
    if found > probe.same and side == "left" and _as_prepended(probe, site, rows, batch):
        return checked.skip(name, "as in a prompt really prepended, padding stands between it and the text, and counts")
    checked.promise(found <= probe.same, f"{name}: a padded row differs by {found:.2g} from the row alone")
    checked.passed(name)


def _as_prepended(probe: Probe, site: str, rows: Any, batch: dict[str, Any]) -> bool:
    """Return whether a bidirectional stack gives on padded texts what it gives on the same embeddings and mask."""
    import torch

    from promptology.injection import Filling

    stack = site.split(".")[0]
    if probe.sites.stacks[stack].causal or not _embeds(probe, stack):
        return False
    given = {k: v for k, v in batch.items() if k not in ("input_ids", "attention_mask", "position_ids")}
    text, mask = probe.embeddings(stack)(batch["input_ids"]), batch["attention_mask"]
    joined = torch.cat([rows.to(text.dtype), text], dim=1)
    mask = torch.cat([mask.new_ones(ROWS, LENGTH), mask], dim=1)
    expected = probe.outputs(**given, inputs_embeds=joined, attention_mask=mask)
    found = _outputs_under(probe, [Filling(site, rows)], **batch)
    pairs = [
        (a[1:2, -(TOKENS - 2) :], b[1:2, -(TOKENS - 2) :]) for a, b in zip(found, expected, strict=True) if a.dim() > 2
    ]
    return probe.apart(*zip(*pairs, strict=True)) <= probe.same


def _takes_positions(probe: Probe) -> bool:
    from inspect import signature

    return "position_ids" in signature(probe.model.forward).parameters


def _check_prefixes(checked: Checked, probe: Probe) -> None:
    """Check tokens that are read once for all rows."""
    import torch

    from promptology.injection import attach, encode_prefix

    (name, stack), *others = probe.sites.stacks.items()
    if f"{name}.key_value[0]" not in probe.sites.available:
        return checked.skip("prefixes", probe.sites.missing.get(f"{name}.key_value", "it shows no keys and values"))
    if others or not stack.causal:
        return checked.skip("prefixes", f"a {probe.sites.kind} model reads its input in both directions")
    shared, ids = probe.ids(1, LENGTH), probe.batch["input_ids"]
    expected = [t[:, -TOKENS:] for t in probe.outputs(input_ids=torch.cat([shared.expand(ROWS, -1), ids], dim=1))]
    with attach(probe.model, [], prefixes=[encode_prefix(probe.model, shared)]):
        apart = probe.apart(probe.outputs(), expected)
    checked.promise(apart <= probe.same, f"tokens read once differ by {apart:.2g} from tokens read with each row")
    checked.passed("prefixes")


def _check_generation(checked: Checked, probe: Probe) -> None:
    """Check that steps of a cache give what computing everything anew gives."""
    site = "encoder.input" if probe.sites.kind == "seq2seq" else "text.input"
    able = getattr(probe.model, "can_generate", lambda: False)()
    if not able or site not in probe.sites.available:
        return checked.skip("generation", "it does not generate" if not able else f"{site} is missing")
    from promptology.injection import Filling, attach

    stack = site.split(".")[0]
    fillings = [Filling(site, probe.prompt(stack))]
    for place in ("key_value", "cross_key_value"):
        owner = "decoder" if probe.sites.kind == "seq2seq" else stack
        if f"{owner}.{place}[0]" in probe.sites.available:
            fillings += probe.key_values(owner, place)[0]
    with attach(probe.model, fillings):
        runs = [_generated(probe, use_cache) for use_cache in (True, False)]
    for step, (cached, anew) in enumerate(zip(runs[0].logits, runs[1].logits, strict=True)):
        apart = probe.apart([cached], [anew])
        text = f"token {step + 1} of a generation with a cache has logits that differ by {apart:.2g} from those without"
        checked.promise(apart <= probe.same, text)
        tokens = [cached.argmax(dim=-1), anew.argmax(dim=-1)]
        if not tokens[0].equal(tokens[1]):  # equal to rounding, and the texts part here
            break
    checked.passed("generation")


def _generated(probe: Probe, use_cache: bool) -> Any:
    import torch

    ids = probe.batch["input_ids"]
    pad = getattr(probe.model.generation_config, "pad_token_id", None)
    settings: dict[str, Any] = {"max_new_tokens": STEPS, "do_sample": False, "num_beams": 1, "eos_token_id": None}
    with torch.no_grad():
        return probe.model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            use_cache=use_cache,
            output_logits=True,
            return_dict_in_generate=True,
            pad_token_id=0 if pad is None else pad,
            **settings,
        )
