"""What is wrong with, or doubtful about, a request, as data that a person or a model can act on."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

__all__ = ["Fault", "Verdict", "sentences"]


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


def sentences(faults: Iterable[Fault]) -> str:
    """The faults as one line of text, each a sentence that names its field."""
    return " ".join(str(fault) for fault in faults)
