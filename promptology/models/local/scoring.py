"""Log-probabilities of continuations, with everything that several of them share run once.

Prompts that begin alike share that beginning, the choices of one prompt share the prompt, and choices that begin alike
share their beginning; logits are computed at the positions that predict a wanted token and nowhere else. All of it
equals one full forward pass per pair, but for rounding.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from promptology.errors import UsageError
from promptology.injection import Prefix, attach, encode_prefix
from promptology.injection.modules import answers_at
from promptology.models.local.batching import Memory, in_batches
from promptology.models.local.body import Body, Hidden
from promptology.models.local.caches import cache_of, layers_of
from promptology.models.local.sharing import Group, in_groups, shared_beginnings

Targets = Sequence[Sequence[Sequence[int]]]
"""Per prompt the tokens of each choice."""
Values = list[list[float]]
LOGITS = 1 << 25
"""Logits that are held at a time, at most."""


class Want(NamedTuple):
    """The log-probability of a token at a position of a row, to be added to the value of choice k of prompt n."""

    row: int
    at: int
    token: int
    n: int
    k: int


class Stem(NamedTuple):
    """Tokens that are run behind prompt n, and its choices k that begin with them, but for their last token."""

    n: int
    tokens: list[int]
    choices: list[int]


def score_all(
    body: Body, memory: Memory, prompts: Sequence[list[int]], targets: Targets, *, share: bool = True
) -> Values:
    """Return log p(target | prompt) in nats of each target of each prompt; `share=False`: no beginning is run apart."""
    groups = shared_beginnings(prompts) if share and body.kind == "causal" else []
    owner = {n: g for g, group in enumerate(groups) for n in group.members}
    # A shared beginning counts too: attention copies its keys and values to each row that sees them.
    lengths = [len(row) + sum(len(t) for t in some) for row, some in zip(prompts, targets, strict=True)]
    known: dict[int, Prefix] = {}

    def run(batch: list[int]) -> Iterable[tuple[int, list[float]]]:
        rows, wanted = [prompts[n] for n in batch], [targets[n] for n in batch]
        if batch[0] not in owner:
            return zip(batch, _whole(body, rows, wanted), strict=True)
        own = [groups[owner[n]] for n in batch]
        prefix = _prefix(body, prompts, own, known)
        suffixes = [row[group.length :] for row, group in zip(rows, own, strict=True)]
        return zip(batch, score_suffixes(body, prefix, suffixes, wanted, tokens=memory.tokens), strict=True)

    def ordered(members: Iterable[int], sizes: Sequence[int], tokens: int) -> list[list[int]]:
        return in_groups(members, sizes, tokens, owner)

    values: Values = [[] for _ in prompts]
    for n, found in in_batches(memory, body.name, lengths, run, ordered):
        values[n] = found
    return values


def _prefix(body: Body, prompts: Sequence[list[int]], own: Sequence[Group], known: dict[int, Prefix]) -> Prefix:
    """Return the beginnings of a batch's groups, run together; one row where the batch is of one group."""
    groups = {group.members[0]: group for group in own}
    if len(groups) == 1 and next(iter(groups)) in known:
        return known[next(iter(groups))]
    with body.quiet():
        ids, mask = body.padded([prompts[first][: group.length] for first, group in groups.items()])
        prefix = encode_prefix(body.model, input_ids=ids, attention_mask=mask)
    known.clear()  # only the last group of a batch goes on in the next one
    last = own[-1].members[0]
    known[last] = prefix.take([len(groups) - 1]) if len(groups) > 1 else prefix
    number = {first: n for n, first in enumerate(groups)}
    return prefix if len(groups) == 1 else prefix.take([number[group.members[0]] for group in own])


def score_suffixes(
    body: Body, prefix: Prefix, rows: Sequence[Sequence[int]], targets: Targets, *, tokens: int = 0
) -> Values:
    """Return log p(target | prefix, row) in nats of each target of each row of tokens.

    `prefix`: what `injection.encode_prefix` made of the tokens that all rows begin with (one row, shared), or one row
    of it per row here; a row holds at least one token. Each row is run once, each choice's own tokens once. `tokens`:
    how many choices' tokens, with what stands before them, are run at a time; 0 for all.
    """
    if body.kind != "causal":
        raise UsageError(f"{body.name}: only a causal model can share the beginning of a prompt")
    if not all(len(row) for row in rows):
        raise UsageError("a row behind a shared prefix must hold at least one token")
    values: Values = [[0.0] * len(some) for some in targets]
    stems = [stem for n, some in enumerate(targets) for stem in stems_of(n, some, least=2)]
    with body.quiet():
        with attach(body.model, [], prefixes=[prefix]):
            ids, mask = body.padded(rows)
            out = body.model.base_model(input_ids=ids, attention_mask=mask, use_cache=bool(stems))
        firsts = [
            Want(n, len(rows[n]) - 1, target[0], n, k)
            for n, some in enumerate(targets)
            for k, target in enumerate(some)
            if len(target)
        ]
        _add(body, out.last_hidden_state, firsts, values)
        if not stems:
            return values
        own = Prefix(layers_of(cache_of(out)), mask.bool(), prefix.stack)
        most = max(1, tokens // int(mask.shape[1])) if tokens else len(stems)
        for at in range(0, len(stems), most):
            part = stems[at : at + most]
            behind = [stem.n for stem in part]
            before = prefix if prefix.rows == 1 else prefix.take(behind)
            with attach(body.model, [], prefixes=[before, own.take(behind)]):
                states = body.hidden([stem.tokens for stem in part]).states
            wants = [
                Want(row, j, token, stem.n, k)
                for row, stem in enumerate(part)
                for k in stem.choices
                for j, token in enumerate(targets[stem.n][k][1:])
            ]
            _add(body, states, wants, values)
    return values


def stems_of(n: int, targets: Sequence[Sequence[int]], least: int = 1) -> list[Stem]:
    """Return what must be run behind prompt n so that every choice of at least `least` tokens is predicted whole."""
    stems: list[Stem] = []
    for k in sorted((k for k, t in enumerate(targets) if len(t) >= least), key=lambda k: -len(targets[k])):
        tokens = list(targets[k][:-1])
        home = next((stem for stem in stems if stem.tokens[: len(tokens)] == tokens), None)
        if home is None:
            stems.append(Stem(n, tokens, [k]))
        else:
            home.choices.append(k)
    return stems


def _whole(body: Body, prompts: Sequence[list[int]], targets: Targets) -> Values:
    """Return the values of prompts that share nothing with others: whole rows, one per prompt and distinct stem."""
    values: Values = [[0.0] * len(some) for some in targets]
    with body.quiet():
        if body.kind == "masked":
            placed = [body.reader.masked(row) for row in prompts]
            states = body.hidden([row for row, _ in placed]).states
            pairs = [(n, k, target) for n, some in enumerate(targets) for k, target in enumerate(some)]
            _add(body, states, [Want(n, placed[n][1], target[0], n, k) for n, k, target in pairs], values)
            return values
        stems = [stem for n, some in enumerate(targets) for stem in stems_of(n, some)]
        if not stems:
            return values
        if body.kind == "seq2seq":
            encoder = body.hidden(prompts)
            owner = torch.tensor([stem.n for stem in stems], device=body.device)
            encoder = Hidden(encoder.states[owner], encoder.mask[owner])
            states = body.decoded(encoder, [[*body.start, *stem.tokens] for stem in stems])
            first = [len(body.start) - 1] * len(prompts)
        else:
            with answers_at([len(prompts[stem.n]) for stem in stems]):
                states = body.hidden([[*prompts[stem.n], *stem.tokens] for stem in stems]).states
            first = [len(row) - 1 for row in prompts]
        wants = [
            Want(row, first[stem.n] + j, token, stem.n, k)
            for row, stem in enumerate(stems)
            for k in stem.choices
            for j, token in enumerate(targets[stem.n][k])
        ]
        _add(body, states, wants, values)
    return values


def _add(body: Body, states: Tensor, wants: Sequence[Want], values: Values) -> None:
    """Add wanted log-probabilities to their values; one position's logits are computed once."""
    places = list(dict.fromkeys((want.row, want.at) for want in wants))
    number = {place: n for n, place in enumerate(places)}
    size = max(1, LOGITS // len(body.embeddings))
    by_place: list[list[Want]] = [[] for _ in places]
    for want in wants:
        by_place[number[want.row, want.at]].append(want)
    for start in range(0, len(places), size):
        rows, at = zip(*places[start : start + size], strict=True)
        logits = body.logits(states[list(rows), list(at)]).float()
        some = [(n, want) for n, several in enumerate(by_place[start : start + size]) for want in several]
        index = torch.tensor([[n, want.token] for n, want in some], device=logits.device)
        found = (logits[index[:, 0], index[:, 1]] - logits.logsumexp(dim=1)[index[:, 0]]).tolist()
        for (_, want), value in zip(some, found, strict=True):
            values[want.n][want.k] += value
