"""Make one video of several shots over MCP, from one picture.

    python storyboard.py [PHOTO] [SECONDS:SENTENCE ...]

Model kling-v3 cuts the shots itself; their seconds add up to the video's, 3 to 15. The price is
asked for first. Without a key the sandbox makes a test clip; with KLING_API_KEY set the video is
real and is paid for.
"""

import os
import sys
from pathlib import Path
from typing import Any

import anyio
from mcp import Client, StdioServerParameters, stdio_client

PHOTO = Path(__file__).with_name("pictures") / "astronaut.png"
SHOTS = (
    "2:Close on her face, she looks up",
    "3:She turns to the window, the camera follows",
    "2:Through the window, the Earth far below",
)
ALLOWANCE_S = 0.5
"""How far a video's length may be from what was asked for."""


class Refused(Exception):
    """A tool answered with an error; the text says why, and whether money was spent."""


async def call(client: Client, tool: str, **arguments: Any) -> dict[str, Any]:
    """The structured answer of a tool; raises Refused."""
    answer = await client.call_tool(tool, arguments)
    if answer.is_error:
        raise Refused(" ".join(part.text for part in answer.content if part.type == "text"))
    fields: dict[str, Any] = answer.structured_content
    return fields


def storyboard(photo: Path, shots: list[str]) -> dict[str, Any]:
    """The arguments of the one call that makes them all."""
    parts = [shot.partition(":") for shot in shots]
    seconds = [int(number) for number, _, _ in parts]
    return {
        "image": str(photo),
        "model_name": "kling-v3",
        "multi_shot": True,
        "shot_type": "customize",
        "multi_prompt": [
            {"prompt": sentence, "duration": str(length)}
            for length, (_, _, sentence) in zip(seconds, parts, strict=True)
        ],
        "duration": str(sum(seconds)),
    }


async def make_video(client: Client, wish: dict[str, Any]) -> Path:
    """Ask for the price, make the video, save it: where it is. Raises Refused."""
    price = await call(client, "kling_image_to_video", **wish, dry_run=True)
    if faults := price.get("faults"):
        raise Refused("\n".join(f"{one['field']}: {one['message']}" for one in faults))
    units = price["estimate_units"]
    print(f"{len(wish['multi_prompt'])} shots, {wish['duration']} s, about {units:g} units")
    task = await call(client, "kling_image_to_video", **wish, max_units=units)
    done = False
    while not done:
        waited = await call(client, "kling_wait_for_tasks", task_ids=[task["task_id"]])
        done = waited["done"]
    saved = await call(client, "kling_save_video", task_id=task["task_id"])
    assert abs(saved["duration_s"] - int(wish["duration"])) <= ALLOWANCE_S, saved["duration_s"]
    return Path(saved["path"])


async def shoot(photo: Path, shots: list[str]) -> Path:
    """Where the video is. Ends the program when it cannot be made."""
    env = {**os.environ, "KLING_MCP_IMAGE_ROOTS": str(photo.parent)}
    server = StdioServerParameters(command=sys.executable, args=["-m", "kling_mcp"], env=env)
    async with Client(stdio_client(server)) as client:
        try:
            return await make_video(client, storyboard(photo, shots))
        except Refused as refused:
            reason = str(refused)
    raise SystemExit(reason)


def main() -> None:
    """Shoot the storyboard that was given, or the one above."""
    photo = Path(sys.argv[1] if len(sys.argv) > 1 else PHOTO).resolve()
    video = anyio.run(shoot, photo, sys.argv[2:] or list(SHOTS))
    assert video.read_bytes()[4:8] == b"ftyp", f"{video} is not an MP4"
    print(video)


if __name__ == "__main__":
    main()
