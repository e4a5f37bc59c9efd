"""Faults and warnings of a request, as data that a person or a model can act on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

__all__ = ["Fault", "Verdict", "sentences", "shortened"]

MOST_FAULTS = 20
"""Faults that one answer names; it only counts the rest."""

TEXT_LIMIT = 600
"""Characters of one sentence: a caller's own numbers may have thousands of digits."""


@dataclass(frozen=True, slots=True)
class Fault:
    """A rule that a request breaks (the request is refused) or almost breaks (a warning).

    `field` is the argument's path in Kling's own names (`multi_prompt[2].duration`). `rule` is a
    stable identifier that tests and clients may rely on. `message` is one plain sentence. `use` is
    a value or a change that would be accepted; empty when there is none. `source` names the page
    that states the rule. Texts are cut at TEXT_LIMIT characters.
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
        """The fault as fields of a structured answer, without empty ones."""
        facts = {"field": self.field, "rule": self.rule, "message": self.message, "use": self.use}
        return {name: value for name, value in facts.items() if value}


@dataclass(slots=True)
class Verdict:
    """What the rules found: `faults` refuse the request, `warnings` appear in its answer."""

    faults: list[Fault] = field(default_factory=list)
    warnings: list[Fault] = field(default_factory=list)

    def extend(self, other: Verdict) -> None:
        """Add the faults and warnings of another verdict."""
        self.faults.extend(other.faults)
        self.warnings.extend(other.warnings)


def shortened(faults: Sequence[Fault]) -> Sequence[Fault]:
    """The first MOST_FAULTS faults, and one more that counts the rest if there is a rest."""
    more = len(faults) - MOST_FAULTS
    if more <= 0:
        return faults
    message = f"and {more:,} more, which are named when these are corrected."
    return [*faults[:MOST_FAULTS], Fault("faults", "more_faults", message)]


def sentences(faults: Sequence[Fault]) -> str:
    """The faults as one line of text, each a sentence that names its field; see `shortened`."""
    return " ".join(str(fault) for fault in shortened(faults))
