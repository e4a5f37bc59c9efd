"""Animate a folder of pictures over MCP, for no more than so many units.

    python batch_within_budget.py [FOLDER] [UNITS] [PROMPT]

Every picture is checked and priced first, which costs nothing; then as many as the budget allows
are made side by side. Run again with more units, it pays only for those that are missing. Without a
key the sandbox makes test clips; with KLING_API_KEY set the videos are real and are paid for.
"""

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
from mcp import Client, StdioServerParameters, stdio_client

FOLDER = Path(__file__).with_name("pictures")
UNITS = 5.0
PROMPT = "The camera moves slowly closer, the light changes gently"
KINDS = {".jpg", ".jpeg", ".png"}


@dataclass(frozen=True)
class Priced:
    """A picture and the units that its video would cost."""

    picture: Path
    units: float


class Refused(Exception):
    """A tool answered with an error; the text says why, and whether money was spent."""


async def call(client: Client, tool: str, **arguments: Any) -> dict[str, Any]:
    """The structured answer of a tool; raises Refused."""
    answer = await client.call_tool(tool, arguments)
    if answer.is_error:
        raise Refused(" ".join(part.text for part in answer.content if part.type == "text"))
    fields: dict[str, Any] = answer.structured_content
    return fields


async def priced(client: Client, pictures: list[Path], prompt: str) -> list[Priced]:
    """The pictures that a video can be made of, with their prices; nothing is sent."""
    found = []
    for picture in pictures:
        wish = {"image": str(picture), "prompt": prompt, "dry_run": True}
        shown = await call(client, "kling_image_to_video", **wish)
        if faults := shown.get("faults"):
            print(f"{picture.name}: left out, {faults[0]['message']}")
        else:
            found.append(Priced(picture, shown["estimate_units"]))
    return found


def affordable(candidates: list[Priced], budget: float) -> list[Priced]:
    """As many as the budget allows, the cheapest first."""
    chosen: list[Priced] = []
    for one in sorted(candidates, key=lambda one: one.units):
        if sum(other.units for other in chosen) + one.units <= budget:
            chosen.append(one)
    return chosen


async def made(client: Client, chosen: list[Priced], prompt: str) -> list[Path]:
    """Submit them all, wait for all, save all; where the videos are."""
    ids = []
    for one in chosen:
        wish = {"image": str(one.picture), "prompt": prompt, "max_units": one.units}
        task = await call(client, "kling_image_to_video", **wish)
        again = ", made before, not paid again" if task.get("repeated") else ""
        print(f"{one.picture.name}: {task['task_id']}, about {one.units:g} units{again}")
        ids.append(task["task_id"])
    done = not ids
    while not done:
        waited = await call(client, "kling_wait_for_tasks", task_ids=ids)
        done = waited["done"]
    saved = [await call(client, "kling_save_video", task_id=task_id) for task_id in ids]
    return [Path(one["path"]) for one in saved]


async def batch(client: Client, folder: Path, budget: float, prompt: str) -> list[Path]:
    """Make what the budget allows of the folder's pictures; where the videos are."""
    pictures = sorted(path for path in folder.iterdir() if path.suffix.lower() in KINDS)
    candidates = await priced(client, pictures, prompt)
    chosen = affordable(candidates, budget)
    units = sum(one.units for one in chosen)
    assert units <= budget, f"{units} units are more than {budget}"
    print(f"{len(chosen)} of {len(candidates)} pictures for {units:g} of {budget:g} units")
    return await made(client, chosen, prompt)


async def animate(folder: Path, budget: float, prompt: str) -> list[Path]:
    """Where the videos are. Ends the program when they cannot be made."""
    env = {**os.environ, "KLING_MCP_IMAGE_ROOTS": str(folder)}
    server = StdioServerParameters(command=sys.executable, args=["-m", "kling_mcp"], env=env)
    async with Client(stdio_client(server)) as client:
        try:
            return await batch(client, folder, budget, prompt)
        except Refused as refused:
            reason = str(refused)
    raise SystemExit(reason)


def main() -> None:
    """Animate the folder that was named, or the one beside this program."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else FOLDER).resolve()
    budget = float(sys.argv[2]) if len(sys.argv) > 2 else UNITS
    videos = anyio.run(animate, folder, budget, " ".join(sys.argv[3:]) or PROMPT)
    for video in videos:
        assert video.read_bytes()[4:8] == b"ftyp", f"{video} is not an MP4"
        print(video)


if __name__ == "__main__":
    main()
