"""Make a film of a folder's pictures over MCP, with music, for no more than so many units.

    python film.py [FOLDER] [UNITS] [MUSIC]

The whole is priced first, which costs nothing; where it costs more than UNITS, the plan that fits
is made. Run again, it goes on where it stopped and pays for nothing twice. Without a key the
sandbox makes test clips; with KLING_API_KEY set the shots are real and are paid for.
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
    """The wish, or the plan of it that fits below its cap; nothing is sent. Raises Refused."""
    plan = await call(client, "kling_film", **wish, dry_run=True)
    if fits := plan.get("fits"):
        print(plan["next"])
        return await planned(client, {**wish, **fits})
    for fault in plan.get("faults", []):
        raise Refused(f"{fault['field']}: {fault['message']}")
    print(f"{len(plan['shots'])} shots, {plan['seconds']:g} s: {plan['estimate_units']:g} units")
    return wish


async def make_film(client: Client, wish: dict[str, Any]) -> Path:
    """Have the film made, wait, and look at it: where it is. Raises Refused."""
    started = await call(client, "kling_film", **await planned(client, wish))
    film_id, done = started["task_id"], False
    while not done:
        waited = await call(client, "kling_wait_for_tasks", task_ids=[film_id])
        done = waited["done"]
    film = await call(client, "kling_get_task", task_id=film_id)
    if film["status"] != "succeed":
        raise Refused(film["next"])
    seen = await call(client, "kling_look", task_id=film_id)
    for finding in seen.get("findings", []):
        print(finding["says"])
    print(film["next"])
    return Path(film["path"])


async def make(folder: Path, units: float, music: Path | None) -> Path:
    """Where the film is. Ends the program when it cannot be made."""
    pictures = sorted(path for path in folder.iterdir() if path.suffix.lower() in KINDS)
    wish: dict[str, Any] = {
        "name": folder.name,
        "shots": [{"image": str(picture), "prompt": PROMPT} for picture in pictures],
        "max_units": units,
        "aspect_ratio": "16:9",
    }
    read = [folder]
    if music:
        wish["music"] = {"file": str(music), "loop": True}
        read.append(music.parent)
    env = {**os.environ, "KLING_MCP_IMAGE_ROOTS": os.pathsep.join(map(str, read))}
    server = StdioServerParameters(command=sys.executable, args=["-m", "kling_mcp"], env=env)
    async with Client(stdio_client(server)) as client:
        try:
            return await make_film(client, wish)
        except Refused as refused:
            reason = str(refused)
    raise SystemExit(reason)


def main() -> None:
    """Film the folder that was named, or the one beside this program."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else FOLDER).resolve()
    units = float(sys.argv[2]) if len(sys.argv) > 2 else UNITS
    music = Path(sys.argv[3]).resolve() if len(sys.argv) > 3 else None
    film = anyio.run(make, folder, units, music)
    assert film.read_bytes()[4:8] == b"ftyp", f"{film} is not an MP4"
    print(film)


if __name__ == "__main__":
    main()
