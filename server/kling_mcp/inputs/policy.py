"""The operator's rules for pictures, and the pictures at our own addresses: frames and uploads."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import anyio

from kling_mcp.inputs.decoding import DECODING, Decoding
from kling_mcp.inputs.file_type import JPEG, PNG, READABLE, FileType
from kling_mcp.inputs.held import HeldFile
from kling_mcp.inputs.inline import keep
from kling_mcp.inputs.picture_rules import BYTES_MAX
from kling_mcp.inputs.refusal import FORMS, Refusal
from kling_tools.addresses import bare_task, is_address
from kling_tools.errors import KlingError

__all__ = [
    "GiveAddress",
    "PicturePolicy",
    "TaskPicture",
    "TaskPictures",
    "TaskVideo",
    "TaskVideos",
    "at_home",
    "take_pictures",
]


USE = "Use "


@dataclass(frozen=True, slots=True)
class TaskPicture:
    """A picture made from a task's video: PNG or JPEG bytes, a label to show, and a `sha256` that
    stays the same for the same picture of the same video.

    An uploaded picture is an open `file` instead; its SHA-256 is not known yet.
    """

    label: str
    data: bytes = b""
    sha256: str = ""
    file: HeldFile | None = None

    @property
    def kind(self) -> Literal["task", "upload"]:
        """The origin of the picture."""
        return "task" if self.file is None else "upload"

    def held(self) -> HeldFile:
        """The picture as an open file."""
        return self.file or keep([self.data], self.label)


TaskOfVideo = Callable[[str], Awaitable[str]]
"""The id of the task whose saved video has this path; empty for any other."""

TaskPictures = Callable[[str], Awaitable[TaskPicture]]
"""Makes the picture for an address such as kling://tasks/ID/frames/last; raises KlingError or a
subclass when it cannot."""


@dataclass(frozen=True, slots=True)
class TaskVideo:
    """The video of a task: a label to show, a `sha256` that stays the same for the same video, its
    length in seconds and its `url` at the provider if they are known, and its saved file, opened.
    A video that a sandbox made is at an address that this `sandbox` alone can read."""

    label: str
    sha256: str
    seconds: float | None = None
    url: str = ""
    file: HeldFile | None = None
    sandbox: bool = False


TaskVideos = Callable[[str], Awaitable[TaskVideo]]
"""Finds the video at kling://tasks/ID/video; raises KlingError or a subclass when it cannot."""


GiveAddress = Callable[[HeldFile], Awaitable[str]]
"""Gives a file an address from which Kling can fetch it for a day. Raises KlingError."""


async def take_pictures(
    values: Iterable[str], make: TaskPictures | None
) -> Mapping[str, TaskPicture | Refusal]:
    """The picture for every kling:// address and every id of a task among the values, or the reason
    why it cannot be made. Each is made once, all side by side, as each may wait for its video."""
    addresses = dict.fromkeys(v for v in values if is_address(v) or (make and bare_task(v)))
    if not addresses:
        return {}
    taken: dict[str, TaskPicture | Refusal] = {}

    async def take(value: str) -> None:
        taken[value] = await _taken(bare_task(value) or value.strip(), make)

    async with anyio.create_task_group() as group:
        for value in addresses:
            group.start_soon(take, value)
    return {value: taken[value] for value in addresses}


async def _taken(address: str, make: TaskPictures | None) -> TaskPicture | Refusal:
    if make is None:
        return Refusal("task_picture", "there are no tasks here to take a frame from.")
    try:
        return await make(address)
    except KlingError as error:
        if error.advice.startswith(USE):
            use = error.advice.removeprefix(USE).removesuffix(".")
            return Refusal("task_picture", error.message, use)
        return Refusal("task_picture", f"{error.message} {error.advice}".strip())


@dataclass(frozen=True, slots=True)
class PicturePolicy:
    """The operator's choices about pictures.

    Local pictures may come from folders below `roots` only; without `allow_local` no local file may
    be named. With `uploads`, a picture may be uploaded to the server. `fix` converts a picture that
    Kling would refuse (setting KLING_MCP_FIX_IMAGES).
    `folders` gives the person's own by the words for them: desktop/photo.jpg. `of_tasks` makes the
    pictures that are frames of finished tasks; None without tasks, as `task_of`, which knows saved
    videos. `decoding` lends memory and
    threads for decoding. A picture of at most `bytes_max` bytes is sent as it is, if nothing else
    is against it. `noun` and `kinds` say what is wanted, `readable` what else a folder is searched
    for; `forms` are those in which it can be given, `forms_elsewhere` those that are no path.
    `task_video` finds the video of a finished task; None without tasks. `give_address` lets Kling
    fetch a file of this machine; None where nothing on the internet leads here.
    """

    roots: tuple[Path, ...]
    allow_local: bool = True
    uploads: bool = False
    fix: bool = False
    folders: Callable[[], Mapping[str, Path]] = dict
    of_tasks: TaskPictures | None = None
    task_of: TaskOfVideo | None = None
    decoding: Decoding = DECODING
    bytes_max: int = BYTES_MAX
    noun: str = "picture"
    kinds: tuple[FileType, ...] = (JPEG, PNG)
    readable: tuple[FileType, ...] = READABLE
    forms: str = FORMS
    forms_elsewhere: str = "an https URL, a data: URI or raw base64 of a JPEG or PNG"
    task_video: TaskVideos | None = None
    give_address: GiveAddress | None = None

    def real_roots(self) -> tuple[Path, ...]:
        """The roots as absolute folders, without symlinks and `~`."""
        return tuple(Path(os.path.realpath(at_home(root))) for root in self.roots)

    def root_of(self, real: Path) -> Path | None:
        """The root above `real`, an absolute path without symlinks; None if no root is above it."""
        return next((root for root in self.real_roots() if real.is_relative_to(root)), None)

    def roots_text(self) -> str:
        """The roots for a person to read; `~` stands for the home folder."""
        return " or ".join(_with_tilde(root) for root in self.roots) or "no folder"


def at_home(path: Path) -> Path:
    """The path with the home folder in place of a leading `~`."""
    try:
        return path.expanduser()
    except RuntimeError:
        return path


def _with_tilde(root: Path) -> str:
    home = at_home(Path("~"))
    if home.is_absolute() and root.is_relative_to(home):
        return str(Path("~") / root.relative_to(home))
    return str(root)
