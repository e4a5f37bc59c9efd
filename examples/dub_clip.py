"""Make a clip over MCP, and let its figure speak: a photograph is animated, then dubbed.

    python dub_clip.py [PHOTO] [TEXT] [VOICE] [FACE]

TEXT is English or Chinese, VOICE a name of docs/tools.md, FACE the number of the face that speaks
where the clip has several. The words are priced first, and none can cost more than that. Without a
key the sandbox makes test clips; with KLING_API_KEY set they are real and paid for.

(`kling_talking_photo` makes a face speak straight from the photograph, with the same text and
voice_id.)
"""

import os
import sys
from pathlib import Path
from typing import Any

import anyio
from mcp import Client, StdioServerParameters, stdio_client

PHOTO = Path(__file__).with_name("pictures") / "astronaut.png"
TEXT = "Hello from the launch pad. It is a fine day to fly."
VOICE = "Melody"


class Refused(Exception):
    """A tool answered with an error; the text says why, and whether money was spent."""


async def call(client: Client, tool: str, **arguments: Any) -> dict[str, Any]:
    """The structured answer of a tool; raises Refused."""
    answer = await client.call_tool(tool, arguments)
    if answer.is_error:
        raise Refused(" ".join(part.text for part in answer.content if part.type == "text"))
    fields: dict[str, Any] = answer.structured_content
    return fields


async def finish(client: Client, task_id: str) -> str:
    """Wait for a task and save it: its file. Raises Refused."""
    done = False
    while not done:
        waited = await call(client, "kling_wait_for_tasks", task_ids=[task_id])
        done = waited["done"]
    ended = waited["tasks"][0]
    if ended["status"] != "succeed":
        raise Refused(f"{task_id} ended as {ended['status']}: {ended.get('provider_says', '')}")
    return str((await call(client, "kling_save_video", task_id=task_id))["path"])


async def dub(client: Client, photo: str, text: str, voice: str, face: str) -> None:
    """Make the clip, then the clip that speaks; print both files. Raises Refused."""
    look = "She looks into the camera"
    clip = await call(client, "kling_image_to_video", image=photo, prompt=look)
    print(await finish(client, clip["task_id"]))

    words: dict[str, Any] = {
        "video": f"kling://tasks/{clip['task_id']}/video",
        "text": text,
        "voice_id": voice,
    }
    priced = await call(client, "kling_lip_sync", **words, dry_run=True)
    if priced.get("faults"):
        raise Refused("; ".join(f"{one['field']}: {one['message']}" for one in priced["faults"]))
    units = priced["estimate_units"]
    print(f"to speak: {units:g} units at most")
    chosen = {"face": int(face)} if face else {}
    spoken = await call(client, "kling_lip_sync", **words, **chosen, max_units=units)
    if "task_id" not in spoken:
        raise Refused(f"Say who speaks: FACE is one of {[one['face'] for one in spoken['faces']]}")
    print(await finish(client, spoken["task_id"]))


async def run(photo: Path, text: str, voice: str, face: str) -> None:
    """Make both clips. Ends the program when one cannot be made."""
    env = {**os.environ, "KLING_MCP_IMAGE_ROOTS": str(photo.parent)}
    server = StdioServerParameters(command=sys.executable, args=["-m", "kling_mcp"], env=env)
    async with Client(stdio_client(server)) as client:
        try:
            return await dub(client, str(photo), text, voice, face)
        except Refused as refused:
            reason = str(refused)
    raise SystemExit(reason)


def main() -> None:
    """Dub what was given, or the astronaut."""
    photo, text, voice, face = [*sys.argv[1:5], *("", "", "", "")[len(sys.argv) - 1 :]]
    anyio.run(run, Path(photo or PHOTO).resolve(), text or TEXT, voice or VOICE, face)


if __name__ == "__main__":
    main()
