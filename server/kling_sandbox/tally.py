"""What a sandbox was asked, and which faults have struck: counted over all its processes."""

from __future__ import annotations

from dataclasses import dataclass

from kling_sandbox.faults import Fault
from kling_sandbox.state_file import StateFile

__all__ = ["KLING", "Counts", "Tally"]

KLING = "kling"
"""The provider that is meant unless another one is named."""


@dataclass(frozen=True, slots=True)
class Counts:
    """What the sandbox was asked.

    `requests` by kind (`creates`, `creates_refused`, `queries`, `lists`, `costs`, `downloads`,
    `downloads_with_authorization`), `accepted` creates that made a task, `accepted_per_request`
    the same by fingerprint: equal requests to one provider but for their external id and callback
    have one. `per_provider` holds the requests of each provider by kind, and its `accepted`.
    `strikes` of faults by switch.
    """

    requests: dict[str, int]
    accepted: int
    accepted_per_request: dict[str, int]
    per_provider: dict[str, dict[str, int]]
    strikes: dict[str, int]


class Tally:
    """The counters in a sandbox's state file."""

    def __init__(self, file: StateFile) -> None:
        self._file = file

    def count(self, *names: str, provider: str = KLING) -> None:
        """Count one request under each name, in all and of its provider."""
        with self._file.writing() as db:
            for name in names:
                for counter in (name, f"{provider}/{name}"):
                    db.execute(
                        "INSERT INTO counters VALUES (?, 1) "
                        "ON CONFLICT (name) DO UPDATE SET n = n + 1",
                        (counter,),
                    )

    def counts(self) -> Counts:
        """What was asked so far, over all processes."""
        requests: dict[str, int] = {}
        per_provider: dict[str, dict[str, int]] = {}
        with self._file.reading() as db:
            for name, n in db.execute("SELECT name, n FROM counters ORDER BY name"):
                provider, slash, kind = str(name).partition("/")
                if slash:
                    per_provider.setdefault(provider, {})[kind] = n
                else:
                    requests[name] = n
            for provider, n in db.execute(
                "SELECT provider, count(*) FROM tasks GROUP BY provider ORDER BY provider"
            ):
                per_provider.setdefault(provider, {})["accepted"] = n
            per_request = dict(
                db.execute("SELECT fingerprint, count(*) FROM tasks GROUP BY fingerprint")
            )
            return Counts(
                requests=requests,
                accepted=sum(per_request.values()),
                accepted_per_request=per_request,
                per_provider=per_provider,
                strikes=dict(db.execute("SELECT fault, n FROM strikes ORDER BY fault")),
            )

    def claim(self, fault: Fault) -> bool:
        """Whether the fault strikes once more; each strike is counted."""
        with self._file.writing() as db:
            row = db.execute("SELECT n FROM strikes WHERE fault = ?", (str(fault),)).fetchone()
            if fault.times is not None and (row[0] if row else 0) >= fault.times:
                return False
            db.execute(
                "INSERT INTO strikes VALUES (?, 1) ON CONFLICT (fault) DO UPDATE SET n = n + 1",
                (str(fault),),
            )
        return True

    def forget_strikes(self) -> None:
        """Count the strikes of faults from the start again."""
        with self._file.writing() as db:
            db.execute("DELETE FROM strikes")
