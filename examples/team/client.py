"""Animate a photograph at a team's server: send it there, wait, fetch the video by its link.

    KLING_MCP_TOKEN=kmcp_... python client.py https://videos.example/mcp PHOTO [PROMPT]

The server reads no files of yours: it gives out an address for the picture, and a link to the
video.
Needs only `mcp`.
"""

import os
import sys
from pathlib import Path
from typing import Any

import anyio
import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

PROMPT = "The camera moves slowly closer, the light changes gently"


class Refused(Exception):
    """A tool answered with an error; the text says why, and whether money was spent."""


async def call(client: Client, tool: str, **arguments: Any) -> dict[str, Any]:
    """The structured answer of a tool; raises Refused."""
    answer = await client.call_tool(tool, arguments)
    if answer.is_error:
        raise Refused(" ".join(part.text for part in answer.content if part.type == "text"))
    fields: dict[str, Any] = answer.structured_content
    return fields


async def animate(url: str, token: str, photo: Path, prompt: str) -> Path:
    """The file of the finished video, beside which nothing is left. Raises Refused."""
    login = {"Authorization": f"Bearer {token}"}
    async with (
        httpx2.AsyncClient(headers=login, timeout=120) as http,
        httpx2.AsyncClient(timeout=120) as files,
        Client(streamable_http_client(url, http_client=http)) as client,
    ):
        address = await call(client, "kling_upload_picture")
        sent = await files.put(address["upload_url"], content=photo.read_bytes())
        if sent.is_error:
            raise Refused(sent.json().get("error", sent.text))
        made = await call(client, "kling_image_to_video", image=address["image"], prompt=prompt)
        print(f"{made['task_id']}: about {made.get('estimate_units')} units")
        done = False
        while not done:
            waited = await call(client, "kling_wait_for_tasks", task_ids=[made["task_id"]])
            done = waited["done"]
        saved = await call(client, "kling_save_video", task_id=made["task_id"])
        video = await files.get(saved["url"])
        video.raise_for_status()
    place = Path(f"{made['task_id']}.mp4")
    place.write_bytes(video.content)
    return place


def reason(error: BaseException) -> Any:
    """The one error in groups of one, as task groups raise them."""
    return reason(error.exceptions[0]) if isinstance(error, BaseExceptionGroup) else error


def main() -> int:
    """Make one video; its path is the last line."""
    if len(sys.argv) < 3 or not os.environ.get("KLING_MCP_TOKEN"):
        print(__doc__, file=sys.stderr)
        return 2
    url, photo, *words = sys.argv[1:]
    failed = False
    try:
        place = anyio.run(
            animate, url, os.environ["KLING_MCP_TOKEN"], Path(photo), " ".join(words) or PROMPT
        )
    except* httpx2.HTTPError as group:
        error = reason(group)
        print(f"{error.request.url.host} did not answer as it should: {error}", file=sys.stderr)
        failed = True
    except* (Refused, OSError) as group:
        print(reason(group), file=sys.stderr)
        failed = True
    if failed:
        return 1
    print(place.resolve())
    return 0


if __name__ == "__main__":
    sys.exit(main())
