"""Animate a photograph over MCP: submit it, wait for the video, save it.

    python animate_photo.py [PHOTO] [PROMPT]

It talks to kling-mcp as any assistant does. Without a key the sandbox makes a test clip; with
KLING_API_KEY set the video is real and is paid for.
"""

import os
import sys
from pathlib import Path
from typing import Any

import anyio
from mcp import Client, StdioServerParameters, stdio_client

PHOTO = Path(__file__).with_name("pictures") / "astronaut.png"
PROMPT = "She looks up and smiles, the camera moves slowly closer"


class Refused(Exception):
    """A tool answered with an error; the text says why, and whether money was spent."""


async def call(client: Client, tool: str, **arguments: Any) -> dict[str, Any]:
    """The structured answer of a tool; raises Refused."""
    answer = await client.call_tool(tool, arguments)
    if answer.is_error:
        raise Refused(" ".join(part.text for part in answer.content if part.type == "text"))
    fields: dict[str, Any] = answer.structured_content
    return fields


async def make_video(client: Client, photo: Path, prompt: str) -> Path:
    """Submit, wait, save: the path of the MP4. Raises Refused."""
    task = await call(client, "kling_image_to_video", image=str(photo), prompt=prompt)
    print(f"task {task['task_id']}, about {task.get('estimate_units', '?')} units")
    done = False
    while not done:
        waited = await call(client, "kling_wait_for_tasks", task_ids=[task["task_id"]])
        done = waited["done"]
        print(waited["tasks"][0]["status"])
    saved = await call(client, "kling_save_video", task_id=task["task_id"])
    return Path(saved["path"])


async def animate(photo: Path, prompt: str) -> Path:
    """Make one video of five seconds; where it was saved. Ends the program when it cannot."""
    server = StdioServerParameters(
        command=sys.executable,
        args=["-m", "kling_mcp"],
        # A server gets few variables of its parent: those with keys have to be handed on.
        env={**os.environ, "KLING_MCP_IMAGE_ROOTS": str(photo.parent)},
    )
    async with Client(stdio_client(server)) as client:
        try:
            return await make_video(client, photo, prompt)
        except Refused as refused:
            reason = str(refused)
    raise SystemExit(reason)


def main() -> None:
    """Animate the photograph that was named, or the one beside this program."""
    photo = Path(sys.argv[1] if len(sys.argv) > 1 else PHOTO).resolve()
    prompt = sys.argv[2] if len(sys.argv) > 2 else PROMPT
    video = anyio.run(animate, photo, prompt)
    assert video.read_bytes()[4:8] == b"ftyp", f"{video} is not an MP4"
    print(video)


if __name__ == "__main__":
    main()
