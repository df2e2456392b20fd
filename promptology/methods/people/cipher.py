"""CIPHER: a person edits drafts; what the edits tell is remembered by context, and prompts are composed from it.

    M <- {}
    for t = 1..T:
        N   <- the min(k, |M|) entries of M whose phi(x_i) is nearest to phi(x_t) by cosine
        f~  <- nothing if N is empty, the one preference in N, or LLM: what most preferences in N have in common
        y_t <- LLM(task, x_t, "the person prefers f~")
        the person makes y'_t of y_t                              cost  c_t = d(y_t, y'_t), word edits
        f^  <- f~ if c_t <= delta, else LLM: what do y_t -> y'_t say of the person's style in general?
        M   <- M + (phi(x_t), f^)

G. Gao, A. Taymanov, E. Salinas, P. Mineiro, D. Misra, "Aligning LLM agents by learning latent preference from user
edits", NeurIPS 2024, arXiv:2404.15269; constants from github.com/gao-g/prelude. Choices of ours: words are compared, so
a change of spaces is no edit (the reference compares texts); preferences that are all the same are not merged by a
call; a case without a preference is stored and never shown; a preference is one line of at most 200 characters, quoted
as data; `floor` keeps contexts that are not similar at all from lending their preference (the reference has no floor).

Without a person the labels are: a labelled training text is what a person made of the draft. A round without either is
where learning pauses.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from promptology.data.items import Item
from promptology.data.task import Task
from promptology.errors import TooManyMissing, UsageError
from promptology.feedback.sessions import Event, State, at, begun, changed, memory_of, packed, round_of, told
from promptology.methods.registry import method
from promptology.models.access import Edits, Embeds, Generates
from promptology.predict.recalling import PHRASE, Recaller, as_phrase, show_edits
from promptology.prompts.learned import Learned, Readout
from promptology.prompts.memory import Memory, Note
from promptology.prompts.outputs import answer_text
from promptology.prompts.render import frame, input_text
from promptology.run.engine import Run

INFER = """A person was given drafts and made of them what stands below each.

<edits>
{edits}
</edits>

Say in one short phrase which style and form this person prefers. Name only what would hold for other texts too; leave out what the texts are about, and corrections of facts. Write the phrase between <preference> and </preference>."""


@method(
    "cipher",
    family="people",
    learns="memory",
    paper="arXiv:2404.15269",
    needs={"model": Generates, "encoder": Embeds},
    optional={"person": Edits},
)
@dataclass(frozen=True)
class CIPHER:
    """Learn a person's preferences by context, from the edits of drafts."""

    k: int = 5
    """Similar contexts whose preferences are used (paper: 1 or 5)."""
    delta: int = 0
    """Word edits up to which a draft counts as accepted (reference: only when it is the same)."""
    floor: float = 0.0
    """By how much a similar context's cosine must lie above the median of all pairs; 0 takes any (paper)."""

    @property
    def calls_each(self) -> int:
        """Calls that a prediction takes at most: one to merge several preferences, one to write."""
        return 1 + (self.k > 1)

    def __post_init__(self) -> None:
        if self.k < 1:
            raise ValueError(f"k is {self.k}; at least 1 similar context is looked up")

    def fit(self, run: Run) -> Learned:
        """Return the memory after a round on each item, in order."""
        state = self.begin(run)
        for item in run.track(rounds_of(run, state), "rounds"):
            state = self.ask(run, self.tell(state, context_event(run, item)))
            final = final_text(run, item, draft := round_of(state, item.id).get("draft"))
            if draft is None or final is None:
                state = self.tell(state, {"event": "drop", "id": item.id})
                run.log("round", outcome="no draft" if draft is None else "no answer of the person")
                continue
            state = self.tell(state, {"event": "edit", "id": item.id, "final": final})
            ended = round_of(state, item.id)
            run.log("round", outcome="accepted" if ended["accepted"] else "edited", cost=ended["cost"])
            run.keep(self.learned(run, state))
        if not state["rounds"]:
            raise TooManyMissing(
                "no round of cipher came to its end: the model wrote no draft, or the person answered none"
            )
        state = self.ask(run, state)
        edited = [r for r in state["rounds"] if not r.get("accepted", True)]
        if lost := sum(not r.get("preference") for r in edited):
            run.warn(f"from {lost} of {len(edited)} edits no preference could be read")
        return self.learned(run, state)

    def begin(self, run: Run | None = None) -> State:
        """Return a state without rounds, or with those of the memory that was learned before."""
        state = begun("cipher")
        earlier = [s for s in run.sources if s.part(Memory)] if run else []
        return carried_on(state, earlier[-1].part(Memory) or Memory()) if earlier else state

    def tell(self, state: State, event: Event) -> State:
        """Return the state after something that the person did; no model is asked."""
        return told(state, event, self.delta)

    def ask(self, run: Run, state: State) -> State:
        """Return the state in which edits are understood and open rounds drafted, as far as the models answered."""
        state = self.infer(run, self.embedded(run, state))
        if opened := at(state, "open"):
            state = self.draft(run, state, opened)
        return state

    def infer(self, run: Run, state: State) -> State:
        """LLM: find the preference behind each edit that has none yet; without an answer it stays to be found."""
        edited = at(state, "edited")
        phrases = phrases_behind(run, [[r] for r in edited])
        for r, phrase in zip(edited, phrases, strict=True):
            if phrase is not None:
                state = changed(state, r["id"], {"preference": phrase, "status": "closed"})
        return state

    def draft(self, run: Run, state: State, opened: Sequence[Mapping[str, Any]]) -> State:
        """Retrieve, aggregate and generate for each open round; one without an answer, or an empty one, stays open."""
        recaller = Recaller(self.learned(run, state), run.roles, run.task.signature)
        items = [Item(r["id"], r["inputs"]) for r in opened]
        predictions = recaller.predict(items)
        for item, raw in zip(items, predictions.raw, strict=True):
            if raw is not None and raw.strip():
                found = recaller.recalled(item)
                near = [[note.id, cosine] for note, cosine in zip(found.notes, found.cosines, strict=True)]
                drafted = {"draft": raw, "used": found.preference, "neighbours": near, "status": "drafted"}
                state = changed(state, item.id, drafted)
        return state

    def embedded(self, run: Run, state: State) -> State:
        """Return the state with the vector of every context, by the encoder at hand."""
        encoder = run.model("encoder")
        if state["encoder"] != encoder.identity:
            rounds = [{**r, "vector": ""} for r in state["rounds"]]
            state = {**state, "encoder": encoder.identity, "rounds": rounds}
        new = [r for r in state["rounds"] if not r.get("vector")]
        vectors = encoder.embed([r["context"] for r in new]) if new else ()
        for r, vector in zip(new, vectors, strict=True):
            state = changed(state, r["id"], {"vector": packed(vector)})
        return state

    def learned(self, run: Run, state: State) -> Learned:
        """Return the memory as a prompt."""
        return composed(run, memory_of(state), {"k": self.k, "floor": self.floor, "show": "preference"})


def composed(run: Run, memory: Memory, options: Mapping[str, Any]) -> Learned:
    """Return the start with a memory, whose readout composes a prompt for each input."""
    start = run.start
    answered = start.readout.options if start.readout.type == "answer" else {}
    parts = memory, Readout("recall", {**answered, **options})
    roles = {"model": "generates", **({"encoder": "embeds"} if memory.notes else {})}
    return replace(start.with_parts(*parts), roles=roles, method="cipher")


def phrases_behind(run: Run, groups: Sequence[Sequence[Mapping[str, Any]]]) -> list[str | None]:
    """Return the preference behind each group of rounds, None where no answer came."""
    asked = [frame(INFER, {"edits": show_edits([note_of(r) for r in group])}) for group in groups]
    texts = run.model().generate(asked, temperature=0.0, max_tokens=PHRASE) if asked else []
    return [None if text is None else as_phrase(text) for text in texts]


def note_of(r: Mapping[str, Any]) -> Note:
    """Return what models are shown of a round: draft and final text."""
    return Note(r["id"], r["context"], "", r["draft"], r["final"])


def carried_on(state: State, memory: Memory) -> State:
    """Return the state with the cases of a memory as closed rounds."""
    vectors = memory.vectors if memory.vectors is not None else ()
    rounds = [
        {"id": n.id, "inputs": {}, "context": n.context, "status": "closed", "vector": packed(v), "used": n.preference}
        | {"draft": n.draft, "final": n.final, "cost": n.cost, "accepted": not n.cost, "preference": n.preference}
        for n, v in zip(memory.notes, vectors, strict=True)
    ]
    return {**state, "encoder": memory.vectors_of, "pinned": list(memory.pinned), "rounds": rounds}


def rounds_of(run: Run, state: State) -> list[Item]:
    """Return the items that still need a round: inputs where a person answers, else those with a text as label.

    Validation items are among them where no test is held out that they must choose for, as in a stream.
    """
    task: Task = run.task
    pool = [*task.train, *(() if task.test else task.validation), *task.unlabeled]
    done = {r["id"] for r in state["rounds"]}
    found = [item for item in pool if item.id not in done and (run.has("person") or item.labelled)]
    if not found and not done:
        raise UsageError(
            f"task {task.name!r} has nothing to learn from: cipher needs labelled training texts, or a person who "
            'edits (in Python, helpers={"person": ...})'
        )
    return found


def context_event(run: Run, item: Item) -> Event:
    """Return the event that opens a round for an item."""
    context = input_text(item.inputs, run.task.signature)
    return {"event": "context", "id": item.id, "inputs": dict(item.inputs), "context": context}


def final_text(run: Run, item: Item, draft: str | None) -> str | None:
    """Return what becomes of a draft: what the person makes of it, else the label; None where nothing came."""
    if draft is None:
        return None
    if run.has("person"):
        return run.model("person").edit(input_text(item.inputs, run.task.signature), draft)
    return answer_text(item.target, run.task.signature, item.inputs)
