"""Animate a folder of pictures over MCP, for no more than so many units.

    python batch_within_budget.py [FOLDER] [UNITS] [PROMPT]

Every picture is checked and priced first, which costs nothing; then as many as the budget allows
are made side by side (`kling_film` with `join: false`). Run again with more units, it pays only for
those that are missing. Without a key the sandbox makes test clips; with KLING_API_KEY set the
videos are real and are paid for.
"""

import os
import sys
from pathlib import Path
from typing import Any

import anyio
from mcp import Client, StdioServerParameters, stdio_client

FOLDER = Path(__file__).with_name("pictures")
UNITS = 5.0
PROMPT = "The camera moves slowly closer, the light changes gently"
KINDS = {".jpg", ".jpeg", ".png"}


class Refused(Exception):
    """A tool answered with an error; the text says why, and whether money was spent."""


async def call(client: Client, tool: str, **arguments: Any) -> dict[str, Any]:
    """The structured answer of a tool; raises Refused."""
    answer = await client.call_tool(tool, arguments)
    if answer.is_error:
        raise Refused(" ".join(part.text for part in answer.content if part.type == "text"))
    fields: dict[str, Any] = answer.structured_content
    return fields


async def planned(client: Client, wish: dict[str, Any]) -> dict[str, Any]:
    """The wish without what cannot be made or is above the budget; nothing is sent."""
    plan = await call(client, "kling_film", **wish, dry_run=True)
    if fits := plan.get("fits"):
        return await planned(client, {**wish, **fits})
    for fault in plan.get("faults", []):
        print(f"{fault['field']}: {fault['message']}")
    shown = zip(wish["shots"], plan["shots"], strict=True)
    shots = [shot for shot, seen in shown if "units" in seen]
    if len(shots) < len(wish["shots"]):
        return await planned(client, {**wish, "shots": shots})
    for shot, seen in zip(shots, plan["shots"], strict=True):
        again = ", made before, not paid again" if seen.get("status") == "succeed" else ""
        print(f"{Path(shot['image']).name}: {seen['units']:g} units{again}")
    units = f"{plan['estimate_units']:g} of {wish['max_units']:g} units"
    print(f"{len(shots)} pictures for {units}")
    return wish


async def batch(client: Client, wish: dict[str, Any]) -> list[Path]:
    """Make what the budget allows; where the videos are."""
    started = await call(client, "kling_film", **await planned(client, wish))
    batch_id, done = started["task_id"], False
    while not done:
        waited = await call(client, "kling_wait_for_tasks", task_ids=[batch_id])
        done = waited["done"]
    made = await call(client, "kling_get_task", task_id=batch_id)
    if made["status"] != "succeed":
        raise Refused(made["next"])
    return [Path(made["shots_in"], shot["file"]) for shot in made["shots"]]


async def animate(folder: Path, budget: float, prompt: str) -> list[Path]:
    """Where the videos are. Ends the program when they cannot be made."""
    pictures = sorted(path for path in folder.iterdir() if path.suffix.lower() in KINDS)
    wish = {
        "name": folder.name,
        "shots": [{"image": str(picture), "prompt": prompt} for picture in pictures],
        "max_units": budget,
        "join": False,
    }
    env = {**os.environ, "KLING_MCP_IMAGE_ROOTS": str(folder)}
    server = StdioServerParameters(command=sys.executable, args=["-m", "kling_mcp"], env=env)
    async with Client(stdio_client(server)) as client:
        try:
            return await batch(client, wish)
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
