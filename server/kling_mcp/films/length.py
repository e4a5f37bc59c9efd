"""How long a film is, and how long its making usually takes."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from fractions import Fraction

from kling_mcp.films.planning import PlannedShot
from kling_mcp.ledger import Ledger
from kling_mcp.polling.pace import measured_s, usual_s
from kling_tools.requests.films import FilmArguments

__all__ = ["JOINED_PX_S", "joining_s", "length_of", "usual_time_s"]

SLOTS = 5
"""Tasks that an account runs side by side at least: those of Kling's smallest pack."""

FRAME_RATE = Fraction(24)
"""The frames per second of a film whose clips are not there yet."""

JOINED_PX_S = 30e6
"""Pixels of a film that are joined and read back in a second, before this server has joined one: 36
to 40 million were measured for each second of one core, crossfades or not."""


def length_of(plan: Sequence[PlannedShot], film: FilmArguments) -> float | None:
    """Seconds of the film, None where they are not known. Raises KlingError for a crossfade that
    its shots are too short for."""
    lengths = [float(shot.duration) for shot in plan if shot.duration and not shot.faults]
    if len(lengths) < len(plan) or not film.join:
        return None
    from kling_mcp.outputs.film_plan import film_length

    return float(film_length(lengths, film.crossfade_s, FRAME_RATE) / FRAME_RATE)


def joining_s(seconds: float, short_px: int, shape: Fraction | None, px_s: float) -> float:
    """Seconds that the joining of a film usually takes, by its length, the pixels of its shorter
    side, its shape, and the pixels that are joined in a second."""
    shape = shape or Fraction(16, 9)
    area = short_px**2 * max(shape, 1 / shape)
    return float(seconds * FRAME_RATE * area) / px_s


async def usual_time_s(
    plan: Sequence[PlannedShot], ledger: Ledger, slots: int | None, sandbox_s: float | None
) -> float:
    """Seconds that the shots which have to be made usually take, so many side by side; those that
    continue one another come one after the other. A shot takes what shots like it took by the
    ledger, where that knows enough of them."""
    free = [0.0] * (slots or SLOTS)
    ends: dict[int, float] = {}
    measured: dict[tuple[object, ...], float | None] = {}
    for shot in plan:
        if shot.is_paid:
            continue
        request: dict[str, object] = {"mode": shot.mode, "duration": shot.duration}
        takes = usual_s(shot.model_name, request) if sandbox_s is None else sandbox_s
        if sandbox_s is None and (row := shot.new_row):
            asked = shot.model_name, shot.mode, shot.duration
            kind = row.provider, row.product, row.sandbox, *asked
            if kind not in measured:
                measured[kind] = await measured_s(ledger, row)
            takes = measured[kind] or takes
        begins = heapq.heappop(free)
        begins = max(begins, ends.get(shot.number - 1, 0.0)) if shot.continues else begins
        ends[shot.number] = begins + takes
        heapq.heappush(free, ends[shot.number])
    return max(ends.values(), default=0.0)
