"""The figures as the tables of benchmarks/peers.md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from benchmarks.peers.contenders import Contender
from benchmarks.peers.provider import Fault
from benchmarks.peers.speed import Figures
from benchmarks.peers.worst_days import FAULTS, HOST_LIMIT_S, Cancelled, Outcome

__all__ = ["cancel_table", "fault_tables", "speed_table"]

SHOWN = 150
"""Characters of an answer that are quoted."""


def _table(rows: Sequence[Sequence[str]]) -> str:
    head, *others = rows
    lines = [head, ["---"] * len(head), *others]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _heads(contenders: Sequence[Contender]) -> list[str]:
    return [f"`{one.name}` {one.version}" for one in contenders]


def speed_table(contenders: Sequence[Contender], figures: Mapping[str, Figures]) -> str:
    """Medians."""
    mine = [figures[one.name] for one in contenders]
    medians = [one.medians() for one in mine]
    return _table(
        [
            ["", *_heads(contenders)],
            ["start to the first tools/list, ms", *(f"{start:.0f}" for start, _, _ in medians)],
            ["memory when idle, MB", *(f"{idle:.0f}" for _, idle, _ in medians)],
            ["tools", *(str(one.tools) for one in mine)],
            ["tools/list, bytes", *(f"{one.list_bytes:,}" for one in mine)],
            ["submit, ms", *(f"{submit:.1f}" for _, _, submit in medians)],
            ["answer to a submit, bytes", *(f"{one.receipt_bytes:,}" for one in mine)],
        ]
    )


def fault_tables(
    contenders: Sequence[Contender], outcomes: Mapping[str, Mapping[Fault, Outcome]]
) -> str:
    """One row a fault, and below it what each said."""
    rows = [["fault, once", *_heads(contenders)]]
    said = ""
    for fault, text in FAULTS.items():
        found = [outcomes[one.name][fault] for one in contenders]
        rows.append([text, *(_cell(fault, one) for one in found)])
        said += f"\n**{text[0].upper()}{text[1:]}**\n\n"
        for contender, outcome in zip(contenders, found, strict=True):
            said += f"- `{contender.name}`: {_quote(outcome)}\n"
    return f"{_table(rows)}\n### What each said\n{said}"


def _cell(fault: Fault, outcome: Outcome) -> str:
    if outcome.answer is None:
        how = f"no answer within {HOST_LIMIT_S:g} s"
    elif fault == "silent":
        how = f"answer after {outcome.answer.took_s:.0f} s"
    else:
        how = "an error" if outcome.marked else "no error"
    money = ", tells about the money" if outcome.tells_money else ""
    return f"{how}{money}; made {outcome.paid}, after the same call again {outcome.paid_again}"


def _quote(outcome: Outcome) -> str:
    if outcome.answer is None:
        return "nothing."
    text = " ".join(outcome.answer.text.split())
    cut = text if len(text) <= SHOWN else f"{text[:SHOWN]}…"
    return f"“{cut}”" + (" (marked as an error)" if outcome.marked else "")


def cancel_table(contenders: Sequence[Contender], found: Mapping[str, Cancelled]) -> str:
    """What waits, and how many requests came after the cancel."""
    return _table(
        [
            ["", *_heads(contenders)],
            ["tool that waits", *(f"`{one.waits}`" if one.waits else "none" for one in contenders)],
            ["requests while it waited", *(str(found[one.name].before) for one in contenders)],
            ["requests after the cancel", *(str(found[one.name].after) for one in contenders)],
        ]
    )
