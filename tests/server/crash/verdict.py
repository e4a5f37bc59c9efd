"""What a campaign left behind, held against what is promised: each breach in words."""

from __future__ import annotations

import hashlib
import re
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import anyio

from kling_mcp.inputs.mp4 import NotWholeMp4, check
from kling_mcp.ledger import Ledger
from kling_mcp.ledger.notes import Notes
from kling_mcp.submission.queue import FolderQueue
from kling_mcp.submission.sender import Sender
from kling_tools.products import ASSETS, PRODUCTS, STEPS

__all__ = ["breaches"]

Row = Mapping[str, Any]

WISH = re.compile(r"wish[ +]\d+[ +]of[ +]\d+")


def _wished(text: str) -> str:
    """The words by which a wish is known, in whatever field of a body they stand."""
    found = WISH.search(text)
    return found[0].replace("+", " ") if found else text


def breaches(folder: Path, report: Mapping[str, Any]) -> list[str]:
    """Every breach in the ledgers and videos of a campaign in that folder; empty when all holds."""
    asked: Counter[str] = Counter()
    rows: list[Row] = []
    found: list[str] = []
    for ground in report["grounds"]:
        place = Path(ground["folder"])
        with closing(_opened(place / "home" / "ledger.sqlite3")) as db:
            (verdict,) = db.execute("PRAGMA integrity_check").fetchone()
            own = [
                {**dict(row), "prompt": _wished(row["prompt"] or row["arguments"])}
                for row in db.execute("SELECT * FROM tasks")
            ]
        if verdict != "ok":
            found.append(f"{place.name} is damaged: {verdict}")
        found += _of_wishes(own, ground["wishes"], asks_by_id=report["provider"] == "kling")
        found += _of_videos(own, place / "videos")
        found += _of_queue(place / "home")
        asked.update(wish["prompt"] for wish in ground["wishes"])
        rows += own
    return found + list(_of_money(folder / "sandbox", rows, asked))


def _opened(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(path)
    db.row_factory = sqlite3.Row
    return db


def _of_wishes(
    rows: Sequence[Row], wishes: Sequence[Mapping[str, Any]], *, asks_by_id: bool
) -> Iterator[str]:
    """One row that counts for each wish: made, or lost at a provider that cannot be asked."""
    by_wish = defaultdict(list)
    steps = [row for row in rows if row["product"] in STEPS]
    lost = {row["prompt"] for row in steps if row["status"] in ("sending", "unknown")}
    for row in rows:
        if row["product"] in STEPS:
            continue
        if row["status"] != "failed" or row["task_id"]:
            by_wish[row["prompt"], row["take"]].append(row)
    for wish in wishes:
        counting = by_wish.pop((wish["prompt"], wish["take"]), [])
        states = [row["status"] for row in counting]
        if not states and wish["prompt"] in lost:
            continue  # a step that was lost is not paid again without a higher take
        if states != ["succeed"] and (asks_by_id or states != ["unknown"]):
            found = [(row["status"], row["message"]) for row in counting]
            yield f"{wish['prompt']}, take {wish['take']}: {found}"
    yield from (f"nobody asked for {prompt}, take {take}" for prompt, take in by_wish)


def _of_videos(rows: Sequence[Row], videos: Path) -> Iterator[str]:
    """Whole files only, and every finished row has its own, or the id of what it made."""
    for path in videos.glob("**/*.mp4"):
        try:
            check(path)
        except NotWholeMp4 as error:
            yield f"half a file under its final name, {path.name}: {error.reason}"
    for row in rows:
        if row["status"] != "succeed" or row["product"] in STEPS:
            continue
        if row["product"] in ASSETS:
            if not row["asset_id"]:
                yield f"{row['prompt']} is made, and no id of it is known"
            continue
        path = Path(row["path"] or videos / "nowhere")
        if not path.is_file():
            yield f"{row['prompt']}, take {row['take']}: its file {row['path']} is not there"
        elif (row["bytes"], row["sha256"]) != _facts(path):
            yield f"{path.name} is not what the ledger says"


def _of_queue(home: Path) -> Iterator[str]:
    """What dead processes left there is gone once a server has been started again."""
    sender = Sender(Ledger(home), FolderQueue(home / "spool"), Notes(home / "made"))
    anyio.run(sender.tidy)
    yield from (f"left in the spool: {path}" for path in (home / "spool").glob("*"))


def _facts(path: Path) -> tuple[int, str]:
    content = path.read_bytes()
    return len(content), hashlib.sha256(content).hexdigest()


AT_ONCE = {"identify-face": "face-check", "tts": "speech"}
"""The steps by their names in the sandbox."""


SPEECH = re.compile(r'"audio_id":\s*"([^"]+)"')
NAMING = {name for name, row in PRODUCTS.items() if row.steps}
"""The products whose bodies name what a step made."""


def _of_money(sandbox: Path, rows: Sequence[Row], asked: Mapping[str, int]) -> Iterator[str]:
    """Nothing paid twice, nothing paid and forgotten, and every unit in the books."""
    with closing(_opened(sandbox / "sandbox.sqlite3")) as db:
        tasks = [dict(row) for row in db.execute("SELECT * FROM tasks")]
    spoken = {
        task["public_id"]: _wished(task["body_json"]) for task in tasks if task["product"] == "tts"
    }

    def kind_and_wish(task: Mapping[str, Any]) -> tuple[str, str]:
        body = task["body_json"]
        by_id = SPEECH.search(body) if not WISH.search(body) else None
        wish = spoken.get(by_id[1], body) if by_id else _wished(body)
        return AT_ONCE.get(task["product"], ""), wish

    made = Counter(map(kind_and_wish, tasks))
    # sessions and sounds have other ids each time that they are made
    plain = [task for task in tasks if task["product"] not in NAMING]
    by_request = Counter(task["fingerprint"] for task in plain)
    if sorted(by_request.values()) != sorted(Counter(map(kind_and_wish, plain)).values()):
        yield "equal requests are not told apart by their prompts"
    unanswered = [row for row in rows if row["status"] in ("sending", "unknown")]
    in_doubt = Counter((row["product"], row["prompt"]) for row in unanswered)
    known = {(row["product"], row["prompt"]) for row in rows if row["task_id"]}
    for (step, prompt), times in made.items():
        most = ((step, prompt) in known) + in_doubt[step, prompt] if step else asked[prompt]
        if times > most:
            yield f"{step} {prompt} may be paid {most} times and was paid {times} times"
    written = {row["task_id"] for row in rows}
    lost = Counter((row["product"] in STEPS, row["prompt"]) for row in unanswered)
    forgotten = Counter(
        (bool(step), prompt)
        for step, prompt in map(
            kind_and_wish, (task for task in tasks if task["public_id"] not in written)
        )
    )
    for (_, prompt), times in (forgotten - lost).items():
        yield f"{prompt} was paid and {times} of its tasks are in no ledger"
    units = sum(_units(row) for row in rows)
    spent = sum(task["units"] for task in tasks if task["public_id"] in written)
    if abs(units - spent) > 1e-6:
        yield f"the ledgers say {units} units, the provider {spent}"


def _units(row: Row) -> float:
    """What the row cost. Of a step the provider tells nothing: its price stands."""
    known: float | None = row["units"]
    paid = row["product"] in STEPS and row["task_id"]
    return row["estimate_units"] if paid else known or 0.0
