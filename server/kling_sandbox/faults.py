"""The faults of a sandbox: one row each, and the switches that turn them on."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, get_args

__all__ = [
    "FAULTS",
    "ConnectionDropped",
    "Fault",
    "FaultRow",
    "Moment",
    "Target",
    "fault_help",
    "parse_faults",
]


class ConnectionDropped(OSError):
    """A fault broke the connection.

    For the server of the app: close the connection and send nothing more, as `app.server_of` does
    for uvicorn. `httpx.ASGITransport` passes it on to the caller; a transport around that should
    raise `httpx.RemoteProtocolError` when nothing was answered (`answered` is False), else
    `httpx.ReadError`, as a client of the served sandbox would see.
    """

    def __init__(self, message: str, *, answered: bool = False) -> None:
        super().__init__(message)
        self.answered = answered


Target = Literal["creates", "queries", "downloads"]
"""Kinds of requests: POSTs that make or delete something; questions about tasks, lists and costs;
GETs of videos."""

Moment = Literal["arrival", "accepted", "receipt", "fate", "body"]
"""When a fault strikes: before anything is done, after the task is stored, in its receipt, in its
outcome (`fate`), or in the bytes of its video."""


@dataclass(frozen=True, slots=True)
class FaultRow:
    """One switch: when it strikes, which requests, and what it does."""

    moment: Moment
    targets: tuple[Target, ...]
    text: str
    takes_seconds: bool = False


_CALLS: tuple[Target, ...] = ("creates", "queries")
_CREATES: tuple[Target, ...] = ("creates",)
_DOWNLOADS: tuple[Target, ...] = ("downloads",)
_ALL: tuple[Target, ...] = ("creates", "queries", "downloads")

FAULTS: dict[str, FaultRow] = {
    "drop-after-accept": FaultRow(
        "accepted", _CREATES, "the task is made, then the connection breaks without an answer"
    ),
    "drop-before-accept": FaultRow(
        "arrival", _ALL, "the connection breaks without an answer, nothing is done"
    ),
    "html-502": FaultRow("arrival", _CALLS, "HTTP 502 with a page of HTML, nothing is done"),
    "html-502-after-accept": FaultRow(
        "accepted", _CREATES, "the task is made, the answer is HTTP 502 with a page of HTML"
    ),
    "html-login": FaultRow(
        "arrival", _CALLS, "HTTP 200 with a page of HTML to sign in on, nothing is done"
    ),
    "empty-body": FaultRow("arrival", _CALLS, "HTTP 200 without a body, nothing is done"),
    "empty-body-after-accept": FaultRow(
        "accepted", _CREATES, "the task is made, the answer is HTTP 200 without a body"
    ),
    "no-id": FaultRow("receipt", _CREATES, "the task is made, the answer names no id"),
    "rate-limit": FaultRow("arrival", _CALLS, "HTTP 429, code 1302, no Retry-After"),
    "rate-limit-retry-after": FaultRow("arrival", _CALLS, "HTTP 429, code 1302, Retry-After: 1"),
    "concurrency": FaultRow("arrival", _CREATES, "HTTP 429, code 1303, no Retry-After"),
    "concurrency-retry-after": FaultRow("arrival", _CREATES, "HTTP 429, code 1303, Retry-After: 1"),
    "ok-with-error": FaultRow("arrival", _CALLS, "HTTP 200 with code 1201, nothing is done"),
    "slow": FaultRow("arrival", _ALL, "the answer comes SECONDS late", takes_seconds=True),
    "internal": FaultRow("arrival", _CALLS, "HTTP 500, code 5000"),
    "maintenance": FaultRow("arrival", _CALLS, "HTTP 503, code 5001"),
    "backlog": FaultRow("arrival", _CALLS, "HTTP 504, code 5002"),
    "token-expired": FaultRow("arrival", _CALLS, "HTTP 401, code 1004, whatever the credential"),
    "no-balance": FaultRow("arrival", _CREATES, "HTTP 429, code 1102: the account is empty"),
    "task-fails": FaultRow(
        "fate", _CREATES, "the task is taken and ends as failed, by the risk control system"
    ),
    "video-cut-short": FaultRow(
        "body", _DOWNLOADS, "Content-Length promises the whole video, half of it is sent"
    ),
    "download-404": FaultRow("arrival", _DOWNLOADS, "the video is not there: HTTP 404, XML"),
}

_FORM = re.compile(
    r"(?P<name>[a-z0-9-]+)(?:@(?P<early>[a-z]+))?(?P<numbers>(?::[0-9.]{1,6})*)(?:@(?P<late>[a-z]+))?"
)


@dataclass(frozen=True, slots=True)
class Fault:
    """One switch turned on. `target` None means all of its requests, `times` None means always.

    `seconds` is the delay of `slow`, 0 for the others.
    """

    name: str
    target: Target | None = None
    times: int | None = None
    seconds: float = 0.0

    @classmethod
    def parse(cls, text: str) -> Fault:
        """The fault of a switch. Raises `ValueError` with the reason when it is wrong."""
        form = _FORM.fullmatch(text.strip())
        if form is None or form["name"] not in FAULTS:
            raise ValueError(f"unknown fault {text!r}; `--fault help` lists all")
        row = FAULTS[form["name"]]
        if form["early"] and form["late"]:
            raise ValueError(f"{text!r} names two targets; name one")
        named = form["early"] or form["late"]
        target = next((name for name in get_args(Target) if name == named), None)
        if named and target not in row.targets:
            raise ValueError(f"{form['name']} strikes only {', '.join(row.targets)}")
        numbers = form["numbers"].split(":")[1:]
        seconds = numbers.pop(0) if row.takes_seconds and numbers else ""
        if row.takes_seconds and not seconds:
            raise ValueError(f"{form['name']} requires seconds, as in {form['name']}:2.5")
        if len(numbers) > 1 or any(not number.isdigit() for number in numbers):
            raise ValueError(f"{text!r}: the number of times must be one whole number, as in :2")
        return cls(
            form["name"],
            target,
            int(numbers[0]) if numbers else None,
            float(seconds) if seconds else 0.0,
        )

    def __str__(self) -> str:
        """The switch, as `parse` reads it; also the name under which its strikes are counted."""
        target = f"@{self.target}" if self.target else ""
        number = f"{self.seconds:f}".rstrip("0").rstrip(".")
        seconds = f":{number}" if FAULTS[self.name].takes_seconds else ""
        times = "" if self.times is None else f":{self.times}"
        return f"{self.name}{target}{seconds}{times}"

    def strikes(self, target: Target, moment: Moment) -> bool:
        """Whether a request of that kind can be struck at that moment."""
        row = FAULTS[self.name]
        targets = (self.target,) if self.target else row.targets
        return moment == row.moment and target in targets


def parse_faults(texts: Iterable[str]) -> tuple[Fault, ...]:
    """The faults of several switches. Raises `ValueError` for the first wrong one."""
    return tuple(Fault.parse(text) for text in texts)


def fault_help() -> str:
    """One line per switch: its name, its requests, its effect."""
    width = max(map(len, FAULTS)) + len(":SECONDS")
    lines = []
    for name, row in FAULTS.items():
        form = f"{name}:SECONDS" if row.takes_seconds else name
        lines.append(f"  {form:<{width}}  {', '.join(row.targets)}: {row.text}")
    return "\n".join(
        [
            "Faults, each also as NAME:N (the first N matching requests only), NAME@TARGET",
            "(creates, queries or downloads only) and NAME:N@TARGET. Codes are Kling's; a gateway",
            "answers with its own words and statuses for them:",
            *lines,
            "Faces that a lip-sync finds in a video need no fault: those that its prompt counts",
            "(two women, three friends, nobody), or ?faces=N at the end of its address (0: none).",
        ]
    )
