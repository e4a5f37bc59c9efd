"""Make a video of words over MCP: first a picture, then a clip of it, then the clip changed.

    python from_words.py [PICTURE] [MOTION] [CHANGE]

PICTURE says what is seen, MOTION what moves, CHANGE what becomes different in an edited copy of the
clip; without it there is none. Each is priced first, and none can cost more than that. Without a
key the sandbox makes test pictures and clips; with KLING_API_KEY set they are real and paid for.
"""

import os
import sys
from typing import Any

import anyio
from mcp import Client, StdioServerParameters, stdio_client

PICTURE = "A red paper boat on a rainy cobbled street, evening light, photograph"
MOTION = "Rain falls, the boat rocks and drifts slowly towards the camera"


class Refused(Exception):
    """A tool answered with an error; the text says why, and whether money was spent."""


async def call(client: Client, tool: str, **arguments: Any) -> dict[str, Any]:
    """The structured answer of a tool; raises Refused."""
    answer = await client.call_tool(tool, arguments)
    if answer.is_error:
        raise Refused(" ".join(part.text for part in answer.content if part.type == "text"))
    fields: dict[str, Any] = answer.structured_content
    return fields


async def make(client: Client, tool: str, **wish: Any) -> str:
    """Price it, make it for no more than that, wait for it, save it: the task's id. Raises
    Refused."""
    priced = await call(client, tool, **wish, dry_run=True)
    if priced.get("faults"):
        raise Refused(
            "; ".join(f"{fault['field']}: {fault['message']}" for fault in priced["faults"])
        )
    units = priced["estimate_units"]
    print(f"{tool}: {units:g} {priced.get('unit', 'unit')}s")
    task_id: str = (await call(client, tool, **wish, max_units=units))["task_id"]
    done = False
    while not done:
        waited = await call(client, "kling_wait_for_tasks", task_ids=[task_id])
        done = waited["done"]
    ended = waited["tasks"][0]
    if ended["status"] != "succeed":
        raise Refused(f"{task_id} ended as {ended['status']}: {ended.get('provider_says', '')}")
    print((await call(client, "kling_save_video", task_id=task_id))["path"])
    return task_id


async def from_words(picture: str, motion: str, change: str) -> None:
    """Make the picture, the clip, and the changed clip. Ends the program when one cannot be
    made."""
    server = StdioServerParameters(
        command=sys.executable, args=["-m", "kling_mcp"], env={**os.environ}
    )
    async with Client(stdio_client(server)) as client:
        try:
            made = await make(client, "kling_generate_image", prompt=picture, aspect_ratio="9:16")
            image = f"kling://tasks/{made}/images/1"
            clip = await make(client, "kling_image_to_video", image=image, prompt=motion)
            if change:
                video = f"kling://tasks/{clip}/video"
                await make(client, "kling_edit_video", video=video, prompt=change)
            return
        except Refused as refused:
            reason = str(refused)
    raise SystemExit(reason)


def main() -> None:
    """Make what was said, or the boat above."""
    picture, motion, change = [*sys.argv[1:4], *(PICTURE, MOTION, "")[len(sys.argv) - 1 :]]
    anyio.run(from_words, picture, motion, change)


if __name__ == "__main__":
    main()
