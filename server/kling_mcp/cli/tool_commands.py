"""The commands that call a tool: `kling-mcp video "prompt"` and its siblings, as a table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["COMMANDS", "COMMAND_OF", "ToolCommand"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCommand:
    """One command: its words in the list of commands, and the tools that it calls, of which
    `tool_for` chooses one. `words` are the arguments that are given without an option, `flags`
    other names of an argument's option. A `file` of JSON may give the arguments, too. What it
    `makes` can be waited for, and is with `stays`, as it is made only while something runs here;
    `waits` is said of the wait itself, and `output` says what `-o` is.
    """

    name: str
    text: str
    tools: tuple[str, ...]
    words: tuple[str, ...] = ()
    flags: Mapping[str, str] = field(default_factory=dict)
    file: str = ""
    makes: bool = False
    stays: bool = False
    waits: bool = False
    output: str = ""

    def tool_for(self, given: dict[str, Any]) -> str:
        """The tool for these arguments. One picture is a first frame, more are combined."""
        if len(self.tools) == 1:
            return self.tools[0]
        pictures = given.pop("image", [])
        if len(pictures) > 1 or (given.get("element_list") and not pictures):
            given |= {"image_list": pictures} if pictures else {}
            return "kling_multi_image_to_video"
        given |= {"image": pictures[0]} if pictures else {}
        framed = pictures or given.get("image_tail")
        return "kling_image_to_video" if framed else "kling_text_to_video"


PROMPT = ("prompt",)
THE_FILE = "the file that it is saved as, or a folder that is there; implies --wait"
COMMANDS: Mapping[str, ToolCommand] = {
    command.name: command
    for command in (
        ToolCommand(
            name="video",
            text="make a video of words, of a picture, or of several",
            tools=("kling_image_to_video", "kling_multi_image_to_video", "kling_text_to_video"),
            words=PROMPT,
            flags={"image_list": "image"},
            makes=True,
            output=THE_FILE,
        ),
        ToolCommand(
            name="image",
            text="make pictures of words, or change and combine pictures",
            tools=("kling_generate_image",),
            words=PROMPT,
            flags={"image_list": "image"},
            makes=True,
            output=THE_FILE,
        ),
        ToolCommand(
            name="film",
            text="make a film of several shots for one price, and wait for it",
            tools=("kling_film",),
            file="a JSON file with these arguments, or with the shots alone; - is standard input",
            makes=True,
            stays=True,
            output="the file that it is saved as, or a folder that is there",
        ),
        ToolCommand(
            name="edit",
            text="change a video by words, or continue it",
            tools=("kling_edit_video",),
            words=PROMPT,
            flags={"image_list": "image"},
            makes=True,
            output=THE_FILE,
        ),
        ToolCommand(
            name="dance",
            text="make the figure of a picture move as in a video",
            tools=("kling_motion_control",),
            words=PROMPT,
            makes=True,
            output=THE_FILE,
        ),
        ToolCommand(
            name="speak",
            text="make the face of a picture speak or sing",
            tools=("kling_talking_photo",),
            words=("text",),
            makes=True,
            output=THE_FILE,
        ),
        ToolCommand(
            name="dub",
            text="make a face of a video speak other words",
            tools=("kling_lip_sync",),
            words=("text",),
            makes=True,
            output=THE_FILE,
        ),
        ToolCommand(
            name="wait",
            text="wait for tasks, and save what they made",
            tools=("kling_wait_for_tasks",),
            words=("task_ids",),
            waits=True,
            output="the file that it is saved as; of several tasks a folder",
        ),
        ToolCommand(
            name="look",
            text="say what is wrong with a finished video, and show it as a picture",
            tools=("kling_look",),
            words=("task_id",),
            output="the JPEG that it is shown in",
        ),
        ToolCommand(
            name="save",
            text="move or write a finished video to a name of your choice",
            tools=("kling_save_video",),
            words=("task_id",),
            output="a file, or a folder that is there; the first name moves it, later ones copy it",
        ),
        ToolCommand(
            name="cancel",
            text="withdraw requests that are still queued here",
            tools=("kling_cancel_task",),
            words=("task_ids",),
        ),
        ToolCommand(
            name="account",
            text="show who is paid, what is left, and what was spent",
            tools=("kling_account",),
        ),
        ToolCommand(
            name="assets",
            text="list elements or voices that videos can repeat",
            tools=("kling_list_assets",),
            words=("kind",),
        ),
        ToolCommand(
            name="element",
            text="make a person, thing or place that videos can repeat",
            tools=("kling_create_element",),
            words=("name",),
            flags={"images": "image"},
        ),
        ToolCommand(
            name="voice",
            text="clone a voice",
            tools=("kling_create_voice",),
            words=("name",),
        ),
        ToolCommand(
            name="delete",
            text="delete an element or a voice of your own",
            tools=("kling_delete_asset",),
            words=("kind", "id"),
        ),
    )
}
"""The commands by name."""

COMMAND_OF = {tool: command.name for command in COMMANDS.values() for tool in command.tools} | {
    "kling_get_task": "tasks",
    "kling_list_tasks": "tasks",
}
"""The command that calls a tool, or stands in its place."""
