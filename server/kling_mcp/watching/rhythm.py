"""When a running task is looked at: late first, often near its usual end, ever rarer after that."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Rhythm"]

FIRST = 0.5
"""Part of the usual time after which the first look is worth a request."""
EARLY = 0.125
"""Part of the usual time between two looks before the end is near."""
NEAR = 0.75
"""Part of the usual time from which on the end is near."""
SILENT = 3.0
"""Multiple of the usual time from which on the task is silent for too long."""
SILENT_LOOKS = 24
"""Looks that a task of no usual time gets before it counts as silent."""
RARER = 0.05
"""Part of its age between two looks at a silent task."""
RAREST_S = 60.0
HASTE = 0.1
"""Part of its age between two looks at a task on this machine, which may end at once."""
SOONEST_S = 0.5


@dataclass(frozen=True, slots=True)
class Rhythm:
    """The looks at one task. `usual_s` is the seconds that it usually takes, `poll_s` those
    between two looks near its end: a task that ends there is noticed after half of them in the
    median. `local` when the provider is on this machine: asking costs nothing, and it may be a
    sandbox, whose tasks end within seconds.
    """

    usual_s: float
    poll_s: float
    local: bool = False

    @property
    def first_s(self) -> float:
        """Seconds after the submit at which the first look is due."""
        return 0.0 if self.local else FIRST * self.usual_s

    def wait_s(self, age_s: float) -> float:
        """Seconds until the next look at a task that was submitted `age_s` seconds ago."""
        if age_s >= max(SILENT * self.usual_s, SILENT_LOOKS * self.poll_s):
            return min(max(2 * self.poll_s, RARER * age_s), RAREST_S)
        if self.local:
            return min(max(HASTE * age_s, SOONEST_S), self.poll_s)
        if age_s < self.first_s:
            return self.first_s - age_s
        early = age_s < NEAR * self.usual_s
        return max(EARLY * self.usual_s, self.poll_s) if early else self.poll_s
