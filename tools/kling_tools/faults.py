"""Faults and warnings of a request, as data that a person or a model can act on."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from kling_tools.quoting import clipped

__all__ = ["Fault", "Variant", "Verdict", "asking", "explained", "listed", "sentences", "shortened"]

MOST_FAULTS = 20
"""Faults that one answer names; it only counts the rest."""

OF_A_MODEL = ("_of_model", "model_spelling", "model_retired", "model_preview")
"""Ends of the rules about what a model can do, and what it is called."""

TEXT_LIMIT = 600
"""Characters of one sentence: a caller's own numbers may have thousands of digits."""


@dataclass(frozen=True, slots=True)
class Fault:
    """A rule that a request breaks (the request is refused) or almost breaks (a warning).

    `field` is the argument's path in Kling's own names (`multi_prompt[2].duration`). `rule` is a
    stable identifier that tests and clients may rely on. `message` is one plain sentence. `use` is
    a value or a change that would be accepted; empty when there is none. `source` names the page
    that states the rule. `choices` names what there is to choose from. Texts are cut at TEXT_LIMIT
    characters.
    """

    field: str
    rule: str
    message: str
    use: str = ""
    source: str = ""
    choices: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("message", "use"):
            object.__setattr__(self, name, clipped(getattr(self, name), TEXT_LIMIT))

    def __str__(self) -> str:
        advice = f" Use {self.use}." if self.use else ""
        return f"{self.field}: {self.message}{advice}{self._listed}"

    @property
    def _listed(self) -> str:
        return listed(self.rule, "; ".join(self.choices))

    def facts(self) -> dict[str, str]:
        """The fault as fields of a structured answer, without empty ones."""
        facts = {"field": self.field, "rule": self.rule, "message": self.message, "use": self.use}
        facts["choices"] = "; ".join(self.choices)
        return {name: value for name, value in facts.items() if value}


def listed(rule: str, choices: str) -> str:
    """The sentence that names the choices of a fault: the nearest ones to a name that is unknown,
    else all there are."""
    what = "Nearest" if rule.endswith("_unknown") else "There are"
    return f" {what}: {choices}." if choices else ""


@dataclass(slots=True)
class Verdict:
    """What the rules found: `faults` refuse the request, `warnings` appear in its answer."""

    faults: list[Fault] = field(default_factory=list)
    warnings: list[Fault] = field(default_factory=list)

    def extend(self, other: Verdict) -> None:
        """Add the faults and warnings of another verdict."""
        self.faults.extend(other.faults)
        self.warnings.extend(other.warnings)


class Variant(BaseModel):
    """The nearest request that no rule refuses. `change` are the arguments to change in the call:
    "" leaves one out, as it is unreadable or no living model takes the whole wish with it, or
    (`takes_away`) takes it away from the request of another take. `makes` names model, mode,
    seconds, sound and price; the estimates are in units and US dollars. `cheaper` is the request
    that loses some of the wish and costs less."""

    model_config = ConfigDict(frozen=True)

    change: dict[str, Any] = {}
    makes: str
    estimate_units: float | None = None
    estimate_usd: float | None = None
    cheaper: Variant | None = None
    takes_away: bool = Field(default=False, exclude=True)

    @property
    def leave_out(self) -> list[str]:
        """The arguments that are left out."""
        return [] if self.takes_away else [name for name in self.change if self.change[name] == ""]

    @property
    def arguments(self) -> str:
        """The change as arguments to copy: `with model_name: kling-v2-6, mode: pro`."""
        kept = {name: self.change[name] for name in self.change if name not in self.leave_out}
        changes = ", ".join(f"{name}: {_copied(name, kept[name])}" for name in kept)
        parts = [f"with {changes}"] if changes else []
        parts += [f"without {' and '.join(self.leave_out)}"] if self.leave_out else []
        return " and ".join(parts)

    def __str__(self) -> str:
        passes = f"It passes {self.arguments}; that makes {self.makes}."
        if self.cheaper is None:
            return passes
        return f"{passes} Cheaper: {self.cheaper.arguments}; that makes {self.cheaper.makes}."


def _copied(name: str, value: Any) -> str:
    if name == "multi_prompt":
        return f"the same shots with durations {', '.join(shot['duration'] for shot in value)}"
    if name == "prompt":
        return json.dumps(value, ensure_ascii=False)
    bare = isinstance(value, str) and value
    return value if bare else json.dumps(value, ensure_ascii=False)


def asking(passes: Variant | None, otherwise: str = "") -> str:
    """The advice to ask the person which of these requests to submit; `otherwise` is one more way.
    Empty without any."""
    cheaper = passes.cheaper if passes else None
    ways = [passes.arguments if passes else "", cheaper.arguments if cheaper else "", otherwise]
    said = ", or ".join(filter(None, ways))
    return f"Ask the person, then submit {said}." if said else ""


def explained(faults: Sequence[Fault]) -> list[Fault]:
    """The faults beside a request that passes as a whole: those of the model keep silent on what to
    use, as their advice looks at one argument alone and might be refused for another."""
    return [
        replace(fault, use="") if fault.rule.endswith(OF_A_MODEL) else fault for fault in faults
    ]


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
