"""Start, memory, size of the tools' list, and how long a submit takes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from benchmarks.peers.contenders import Contender, Place, filled
from benchmarks.peers.provider import Address

__all__ = ["Figures", "measure_speed"]

WARM_UP_CALLS = 3
CALL_LIMIT_S = 20.0


@dataclass(slots=True)
class Figures:
    """One contender's: seconds, bytes, bytes, how many tools, seconds, bytes."""

    starts: list[float] = field(default_factory=list)
    memory: list[int] = field(default_factory=list)
    list_bytes: int = 0
    tools: int = 0
    submits: list[float] = field(default_factory=list)
    receipt_bytes: int = 0

    def medians(self) -> tuple[float, float, float]:
        """Milliseconds of a start, megabytes when idle, milliseconds of a submit."""
        idle = median(self.memory) / 1e6
        return median(self.starts) * 1000, idle, median(self.submits) * 1000


def measure_speed(
    contenders: Sequence[Contender],
    place: Place,
    address: Address,
    folder: Path,
    runs: int,
    calls: int,
) -> dict[str, Figures]:
    """Figures by name. The contenders take turns, so that a busy moment hits them all; the first
    start of each is not counted."""
    figures = {contender.name: Figures() for contender in contenders}
    for run in range(runs + 1):
        for contender in contenders:
            with contender.start(place, address, folder / f"start-{run}") as server:
                line, age = server.open()
                mine = figures[contender.name]
                mine.list_bytes = len(line)
                mine.tools = len(json.loads(line)["result"]["tools"])
                if run:
                    mine.starts.append(age)
                    mine.memory.append(server.memory.resident)
    with ExitStack() as stack:
        servers = []
        for contender in contenders:
            server = stack.enter_context(contender.start(place, address, folder / "submit"))
            server.open()
            servers.append((contender, server))
        for number in range(WARM_UP_CALLS + calls):
            for contender, server in servers:
                tool, arguments = filled(
                    contender.submit, prompt=f"The light grows warmer {number}"
                )
                answer = server.call(tool, arguments, CALL_LIMIT_S)
                assert not answer.is_error, (contender.name, answer.text)
                if number >= WARM_UP_CALLS:
                    figures[contender.name].submits.append(answer.took_s)
                    figures[contender.name].receipt_bytes = answer.size
    return figures
