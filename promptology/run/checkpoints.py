"""Where long work stands: files beside the store, and the position of the meter that belongs to each.

A run is continued by executing it again from the start. Answers come from the store then; a training, whose steps leave
no answers, comes from a file. The file holds what the meter counted since the training began, so that the meter can be
moved over the rows in between, and everything after it meets the meter it would have met.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from promptology.models.access import Asked, Shown, State, Vectors
from promptology.run.cost import ZERO, Cost

if TYPE_CHECKING:
    from promptology.run.meter import Meter

KEPT_BYTES = 16 * 2**20
"""Bytes of state that a finished run may keep, so that the same call again gives its result without training."""
END = ".safetensors"


class States:
    """The state files of one run; without a folder there are none."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder / "state" if folder else None

    def path(self, name: str) -> Path | None:
        """Return where the state of this name lies or will lie; None where nothing can be kept."""
        if self.folder is None:
            return None
        return self.folder / (hashlib.blake2b(name.encode(), digest_size=8).hexdigest() + END)

    @contextmanager
    def writing(self, path: Path) -> Iterator[Path]:
        """Give a place to write to, which becomes `path` in one move; a kill leaves the old file or the new one."""
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_suffix(".part")
        try:
            yield draft
            os.replace(draft, path)
        finally:
            draft.unlink(missing_ok=True)

    def sweep(self, most: int = KEPT_BYTES) -> None:
        """Take away what a finished run does not need: drafts, and all of its states where they are large."""
        if self.folder is None or not self.folder.is_dir():
            return
        files = [*self.folder.iterdir()]
        small = sum(file.stat().st_size for file in files if file.suffix == END) <= most
        for file in files:
            if not (small and file.suffix == END):
                file.unlink(missing_ok=True)
        with suppress(OSError):
            self.folder.rmdir()


class Mark:
    """What a meter had counted at one point, so that what came since can be written down and put back."""

    def __init__(self, meter: Meter) -> None:
        self.meter = meter
        self.start = meter._seq
        self._ledger = dict(meter.ledger)
        self._counts = meter.asked, meter.missing, meter.answered
        self._of_role = dict(meter._of_role)
        self._samples = dict(meter._keys._samples)
        self._outer = meter.journal
        self._journal: list[list[Any]] = []
        meter.journal = self._journal

    def close(self) -> None:
        """Stop noting which texts are embedded."""
        if self._outer is not None:
            self._outer.extend(self._journal)
        self.meter.journal = self._outer

    def since(self) -> dict[str, Any]:
        """Return what the meter counted since, as plain JSON; its rows must be durable before this is."""
        meter = self.meter
        ledger = []
        for (role, phase), now in meter.ledger.items():
            before = self._ledger.get((role, phase), (ZERO, ZERO))
            ledger.append([role, phase, now[0].minus(before[0]).pack(), now[1].minus(before[1]).pack()])
        samples = {k.hex(): n for k, n in meter._keys._samples.items() if self._samples.get(k) != n}
        of_role = {
            role: [n - self._of_role.get(role, (0, 0))[0], m - self._of_role.get(role, (0, 0))[1]]
            for role, (n, m) in meter._of_role.items()
        }
        now_counts = meter.asked, meter.missing, meter.answered
        last = meter.last_row
        return {
            "start": self.start,
            "seq": meter._seq,
            "last": [last[0], last[1].hex()] if last[0] >= self.start else None,
            "ledger": ledger,
            "counts": [a - b for a, b in zip(now_counts, self._counts, strict=True)],
            "of_role": of_role,
            "samples": samples,
            "overhead": meter._overhead,
            "failure": meter.last_failure,
            "vectors": self._journal,
        }

    def refusal(self, doc: dict[str, Any]) -> str:
        """Return why the meter cannot be moved to where `doc` was written; empty where it can."""
        meter = self.meter
        if doc["start"] != meter._seq:
            return "it stands at another place of the run"
        if doc["last"] and ((row := meter._events.get(doc["last"][0])) is None or row.key.hex() != doc["last"][1]):
            return "the store lacks the rows before it"
        rows = (meter._events.get(n) for n in range(doc["start"], doc["seq"]))
        if meter.retry_failed and any(row and row.state == "failed" for row in rows):
            return "requests that failed on the way to it are asked again"
        return ""

    def put_back(self, doc: dict[str, Any]) -> None:
        """Move the meter to where `doc` was written, as if everything up to there had been asked again."""
        meter = self.meter
        for n in range(doc["start"], doc["seq"]):
            row = meter._events.pop(n, None)
            if row and row.state == "done":
                meter._asked.add(row.key)
            if row and row.charged and meter.retry_failed:
                meter.ahead = meter.ahead.minus(Cost.unpack(row.charged))
        meter._seq = doc["seq"]
        phase = meter.phase
        for role, of, charged, paid in doc["ledger"]:
            meter.phase = of
            meter.charge(role, Cost.unpack(charged), Cost.unpack(paid))
        meter.phase = phase
        asked, missing, answered = doc["counts"]
        meter.asked, meter.missing, meter.answered = (
            meter.asked + asked,
            meter.missing + missing,
            meter.answered + answered,
        )
        for role, (n, m) in doc["of_role"].items():
            before = meter._of_role.get(role, (0, 0))
            meter._of_role[role] = before[0] + n, before[1] + m
        meter._keys._samples.update((bytes.fromhex(k), n) for k, n in doc["samples"].items())
        meter._overhead.update(doc["overhead"])
        meter.last_failure = doc["failure"] or meter.last_failure
        if doc["last"]:
            meter.last_row = doc["last"][0], bytes.fromhex(doc["last"][1])
        self._journal += doc["vectors"]
        for entry in doc["vectors"]:
            key, role, identity, prints = entry
            known = meter.recalled.setdefault((role, identity), {})
            known.update((text, (bytes.fromhex(key), i, len(prints))) for i, text in enumerate(prints))


def fingerprint(text: Asked) -> str:
    """Return a short hash of a text, or of a state or image that is asked for, under its learned parts."""
    if isinstance(text, Shown):
        inside = text.injected.digest if text.injected else ""
        how = ["adapting", text.adapting.digest] if text.adapting else []
        parts = ["image", inside, text.image.digest, *text.texts, *how]
    elif isinstance(text, State):
        parts = ["state", text.injected.digest if text.injected else "", text.text]
        parts += [str(text.layers)] * bool(text.layers)
    else:
        parts = ["embed", "", text]
    return hashlib.blake2b("\0".join(parts).encode("utf-8", "surrogatepass"), digest_size=12).hexdigest()


def recall(
    meter: Meter, role: str, identity: str, texts: Sequence[Asked], read: Callable[[bytes, int], Vectors]
) -> dict[Asked, Vectors]:
    """Return the vectors of those texts that were embedded before the place where a run was continued.

    `read(body, n)`: the n vectors that a stored body holds.
    """
    known = meter.recalled.get((role, identity), {})
    places = {text: place for text in texts if (place := known.get(fingerprint(text)))}
    bodies = meter.store.answers({key for key, _, _ in places.values()})
    return {text: read(bodies[key], n)[i] for text, (key, i, n) in places.items() if key in bodies}
