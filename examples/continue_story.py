"""Tell a story in clips over MCP: each begins with the last frame of the one before.

    python continue_story.py [PHOTO] [SENTENCE ...]

Without a key the sandbox makes test clips; with KLING_API_KEY set the videos are real and paid for.
"""

import base64
import io
import os
import sys
from pathlib import Path
from typing import Any

import anyio
from mcp import Client, StdioServerParameters, stdio_client
from mcp_types import BlobResourceContents
from PIL import Image, ImageChops, ImageStat

PHOTO = Path(__file__).with_name("pictures") / "astronaut.png"
STORY = (
    "She looks up and smiles",
    "She turns her head to the window",
    "The camera moves slowly back, and the room comes into view",
)
ALIKE = 12
"""Mean difference of two pictures' pixels, of 255, below which they show the same."""


class Refused(Exception):
    """A tool answered with an error; the text says why, and whether money was spent."""


async def call(client: Client, tool: str, **arguments: Any) -> dict[str, Any]:
    """The structured answer of a tool; raises Refused."""
    answer = await client.call_tool(tool, arguments)
    if answer.is_error:
        raise Refused(" ".join(part.text for part in answer.content if part.type == "text"))
    fields: dict[str, Any] = answer.structured_content
    return fields


async def make_clip(client: Client, image: str, sentence: str) -> str:
    """Submit and wait: the task's id. Raises Refused."""
    task = await call(client, "kling_image_to_video", image=image, prompt=sentence)
    print(f"{task['task_id']}, about {task.get('estimate_units', '?')} units: {sentence}")
    done = False
    while not done:
        waited = await call(client, "kling_wait_for_tasks", task_ids=[task["task_id"]])
        done = waited["done"]
    status = waited["tasks"][0]["status"]
    if status != "succeed":
        raise Refused(f"{task['task_id']} ended as {status}")
    return str(task["task_id"])


async def frame(client: Client, address: str) -> Image.Image:
    """A frame of a task, read as a resource."""
    (content,) = (await client.read_resource(address)).contents
    assert isinstance(content, BlobResourceContents)
    return Image.open(io.BytesIO(base64.b64decode(content.blob)))


def difference(one: Image.Image, other: Image.Image) -> float:
    """The mean difference of the pixels, 0 to 255."""
    pixels = ImageChops.difference(one, other.resize(one.size)).convert("L")
    return ImageStat.Stat(pixels).mean[0]


async def make_clips(client: Client, photo: str, story: list[str]) -> Path:
    """Make the clips one after the other; where the last was saved. Raises Refused."""
    image = photo
    for sentence in story:
        task_id = await make_clip(client, image, sentence)
        if image != photo:
            ended = await frame(client, image)
            begins = await frame(client, f"kling://tasks/{task_id}/frames/first")
            assert difference(ended, begins) < ALIKE, f"{task_id} begins elsewhere"
        image = f"kling://tasks/{task_id}/frames/last"
        saved = await call(client, "kling_save_video", task_id=task_id)
        print(saved["path"])
    return Path(saved["path"])


async def tell(photo: Path, story: list[str]) -> Path:
    """Where the last clip was saved. Ends the program when one cannot be made."""
    env = {**os.environ, "KLING_MCP_IMAGE_ROOTS": str(photo.parent)}
    server = StdioServerParameters(command=sys.executable, args=["-m", "kling_mcp"], env=env)
    async with Client(stdio_client(server)) as client:
        try:
            return await make_clips(client, str(photo), story)
        except Refused as refused:
            reason = str(refused)
    raise SystemExit(reason)


def main() -> None:
    """Tell the story that was given, or the one above."""
    photo = Path(sys.argv[1] if len(sys.argv) > 1 else PHOTO).resolve()
    video = anyio.run(tell, photo, sys.argv[2:] or list(STORY))
    assert video.read_bytes()[4:8] == b"ftyp", f"{video} is not an MP4"


if __name__ == "__main__":
    main()
