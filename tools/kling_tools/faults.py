"""What is wrong with, or doubtful about, a request, as data that a person or a model can act on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

__all__ = ["Fault", "Verdict", "sentences", "told"]

MOST_TOLD = 20
"""Faults that one answer names; it counts the rest."""

TEXT_LIMIT = 600
"""Characters of one sentence: a caller's own numbers may have thousands of digits."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One rule that a request breaks (a refusal) or comes near to breaking (a warning).

    `field` is the argument's path in Kling's own names (`multi_prompt[2].duration`), `rule` a
    stable identifier that tests and clients may rely on, `message` one plain sentence, `use` a
    value (or a change) that would do, empty when there is none, `source` where the rule stands.
    """

    field: str
    rule: str
    message: str
    use: str = ""
    source: str = ""

    def __post_init__(self) -> None:
        for name in ("message", "use"):
            if len(text := getattr(self, name)) > TEXT_LIMIT:
                object.__setattr__(self, name, f"{text[: TEXT_LIMIT - 1]}…")

    def __str__(self) -> str:
        advice = f" Use {self.use}." if self.use else ""
        return f"{self.field}: {self.message}{advice}"

    def facts(self) -> dict[str, str]:
        """The fault as fields of a structured answer; empty ones are left out."""
        facts = {"field": self.field, "rule": self.rule, "message": self.message, "use": self.use}
        return {name: value for name, value in facts.items() if value}


@dataclass(slots=True)
class Verdict:
    """What the rules found: `faults` refuse the request, `warnings` go into its answer."""

    faults: list[Fault] = field(default_factory=list)
    warnings: list[Fault] = field(default_factory=list)

    def extend(self, other: Verdict) -> None:
        """Add what another set of rules found."""
        self.faults.extend(other.faults)
        self.warnings.extend(other.warnings)


def told(faults: Sequence[Fault]) -> Sequence[Fault]:
    """The faults as an answer names them: MOST_TOLD, and one that counts the rest."""
    more = len(faults) - MOST_TOLD
    if more <= 0:
        return faults
    message = f"and {more:,} more, which are named when these are corrected."
    return [*faults[:MOST_TOLD], Fault("faults", "more_faults", message)]


def sentences(faults: Sequence[Fault]) -> str:
    """The faults as one line of text, each a sentence that names its field; MOST_TOLD at most."""
    return " ".join(str(fault) for fault in told(faults))
