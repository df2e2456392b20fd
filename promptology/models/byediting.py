"""A person who edits drafts, asked the way a model that generates is: what was answered is kept, and asked once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from promptology.models.access import Answer, Edits, Outcome, Request


class ByEditing:
    """Answers requests of two messages, context and draft, by a person's own `edit`."""

    def __init__(self, person: Edits) -> None:
        self._person = person
        self.name = person.name
        self.identity = str(getattr(person, "identity", person.name))
        self.local = bool(getattr(person, "local", False))
        self.simulated = bool(getattr(person, "simulated", False))

    def generate(self, requests: Sequence[Request], attempts: int = 1) -> Iterator[tuple[int, Outcome]]:
        """Yield (index, outcome), one after the other."""
        for n, request in enumerate(requests):
            (_, context), (_, draft) = request.messages
            yield n, Answer(self._person.edit(context, draft), 0, 0, False)
