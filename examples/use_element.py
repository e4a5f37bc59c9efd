"""Put an element, a person or thing that videos can repeat, into a video over MCP.

    python use_element.py [PHOTO] [SENTENCE] [NAME] [PICTURE PICTURE ...]

The sentence says <<<element_1>>> where the element appears. Without a name the first of the list is
taken; with two to four pictures an element of that name is made of them, which is free. Without a
key the sandbox makes a test clip; with KLING_API_KEY set the video is real and is paid for.
"""

import os
import sys
from pathlib import Path
from typing import Any

import anyio
from mcp import Client, StdioServerParameters, stdio_client

PHOTO = Path(__file__).with_name("pictures") / "coffee.jpg"
SENTENCE = "<<<element_1>>> comes in, sits down at the table and drinks the coffee"


class Refused(Exception):
    """A tool answered with an error; the text says why, and whether money was spent."""


async def call(client: Client, tool: str, **arguments: Any) -> dict[str, Any]:
    """The structured answer of a tool; raises Refused."""
    answer = await client.call_tool(tool, arguments)
    if answer.is_error:
        raise Refused(" ".join(part.text for part in answer.content if part.type == "text"))
    fields: dict[str, Any] = answer.structured_content
    return fields


async def element(client: Client, name: str, pictures: list[str]) -> str:
    """The id of the element: the first one, that of the name, or one that is made now, once."""
    if pictures:
        made = await call(
            client, "kling_create_element", name=name, description=name, images=pictures
        )
        return str(made["id"])
    listed = await call(client, "kling_list_assets", kind="element", text=name)
    if not listed["assets"]:
        raise Refused(f"There is no element {name!r}.")
    first = listed["assets"][0]
    print(f"With {first['name']}: {first.get('description', '')}")
    return str(first["id"])


async def make_video(photo: Path, sentence: str, name: str, pictures: list[str]) -> Path:
    """Where the video is. Ends the program when it cannot be made."""
    roots = {str(Path(path).resolve().parent) for path in (str(photo), *pictures)}
    env = {**os.environ, "KLING_MCP_IMAGE_ROOTS": os.pathsep.join(sorted(roots))}
    server = StdioServerParameters(command=sys.executable, args=["-m", "kling_mcp"], env=env)
    async with Client(stdio_client(server)) as client:
        try:
            task = await call(
                client,
                "kling_image_to_video",
                image=str(photo),
                prompt=sentence,
                model_name="kling-v3",
                element_list=[await element(client, name, pictures)],
            )
            print(f"Task {task['task_id']}, about {task['estimate_units']:g} units")
            done = False
            while not done:
                waited = await call(client, "kling_wait_for_tasks", task_ids=[task["task_id"]])
                done = waited["done"]
            saved = await call(client, "kling_save_video", task_id=task["task_id"])
            return Path(saved["path"])
        except Refused as refused:
            reason = str(refused)
    raise SystemExit(reason)


def main() -> None:
    """Make the video with the element that was named, or with the first one."""
    given = sys.argv[1:]
    photo = Path(given[0] if given else PHOTO).resolve()
    sentence = given[1] if len(given) > 1 else SENTENCE
    name = given[2] if len(given) > 2 else ""
    pictures = [str(Path(path).resolve()) for path in given[3:]]
    print(anyio.run(make_video, photo, sentence, name, pictures))


if __name__ == "__main__":
    main()
