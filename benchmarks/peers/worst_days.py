"""What each does when the provider fails five times over, and after a cancel."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from benchmarks.peers.contenders import Contender, Place, filled
from benchmarks.peers.conversation import Answer, NoAnswer
from benchmarks.peers.provider import Address, Desk, Fault

__all__ = ["FAULTS", "Cancelled", "Outcome", "after_cancel", "under_fault"]

FAULTS: dict[Fault, str] = {
    "lost": "the task is made, the connection breaks before the answer",
    "html": "HTTP 502 with a page of HTML, nothing is made",
    "limited": "too many requests, once",
    "silent": "the task is made, nothing is ever answered",
    "empty": "no balance left, said in the provider's own way",
}
HOST_LIMIT_S = 60.0
"""Seconds after which hosts give a call up: TypeScript clients do by default."""

AGAIN_LIMIT_S = 10.0
LATER_S = 35.0
"""Seconds in which a request that was refused for now may still be sent by the server itself."""

AFTER_CANCEL_S = 30.0
MONEY = re.compile(
    r"charged|paid|billed|costs?\b|not sent|nothing was (?:sent|made)", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """`answer` to the call that was struck, or None when the host had given up; `paid` after it
    (and, where nothing is sent again by itself, some seconds later), `paid_again` after the
    same call was made once more."""

    answer: Answer | None
    paid: int
    paid_again: int

    @property
    def marked(self) -> bool:
        """Whether an answer that is none is marked as an error."""
        return self.answer is not None and self.answer.is_error

    @property
    def tells_money(self) -> bool:
        """Whether the text says anything about what was sent or paid."""
        return self.answer is not None and bool(MONEY.search(self.answer.text))


@dataclass(frozen=True, slots=True)
class Cancelled:
    """Requests that reached the provider before and after the cancel."""

    before: int
    after: int


def under_fault(
    contender: Contender, fault: Fault, place: Place, address: Address, desk: Desk, folder: Path
) -> Outcome:
    """Submit while the provider fails once, then submit the very same again."""
    tool, arguments = filled(contender.submit, prompt=f"A boat on a lake, {fault}")
    made = len(desk.made)
    with contender.start(place, address, folder / fault) as server:
        server.open()
        desk.strike(fault, 1)
        try:
            answer: Answer | None = server.call(tool, arguments, HOST_LIMIT_S)
        except NoAnswer:
            answer = None
        if fault == "limited":
            _until(lambda: len(desk.made) > made, LATER_S)
        paid = len(desk.made) - made
        desk.strike("", 0)
        with suppress(NoAnswer):
            server.call(tool, arguments, AGAIN_LIMIT_S)
        paid_again = len(desk.made) - made
        desk.released.set()
    desk.released.clear()
    return Outcome(answer, paid, paid_again)


def after_cancel(
    contender: Contender, place: Place, address: Address, desk: Desk, folder: Path
) -> Cancelled:
    """Wait for a task that never ends, cancel the call, and count what still comes."""
    with contender.start(place, address, folder / "cancel") as server:
        server.open()
        tool, arguments = filled(contender.submit, prompt="A boat that never arrives")
        server.call(tool, arguments, HOST_LIMIT_S)
        task = list(desk.made)[-1]
        asked = len(desk.asked)
        tool, arguments = filled(contender.wait, task=task, prompt="A boat that never arrives")
        number = server.send_call(tool, arguments)
        _until(lambda: len(desk.asked) > asked + 1, LATER_S)
        server.cancel(number)
        time.sleep(0.5)
        before = len(desk.asked)
        time.sleep(AFTER_CANCEL_S)
        return Cancelled(before - asked, len(desk.asked) - before)


def _until(happened: Callable[[], bool], limit_s: float) -> None:
    until = time.perf_counter() + limit_s
    while not happened() and time.perf_counter() < until:
        time.sleep(0.05)
