"""What a contract is made of: promises that hold or are named in an AssertionError, and what could not be checked."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Checked:
    """What a contract checked: the promises that hold, and those it could not check with the reason.

    `about` names the thing under test in every message.
    """

    about: str
    promises: list[str] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)

    def promise(self, holds: bool, broken: str) -> None:
        """Raise AssertionError with what is broken, where it does not hold."""
        # Raised, not asserted, so that `python -O` checks too.
        if not holds:
            raise AssertionError(f"{self.about}: {broken}")

    def passed(self, name: str) -> None:
        """Note a promise that holds."""
        self.promises.append(name)

    def skip(self, name: str, reason: str) -> None:
        """Note a promise that could not be checked."""
        self.skipped[name] = reason

    def __str__(self) -> str:
        lines = [f"{self.about}: {', '.join(self.promises) or 'nothing'} checked"]
        return "\n".join([*lines, *(f"  {name} not checked: {reason}" for name, reason in self.skipped.items())])
