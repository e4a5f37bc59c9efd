"""`-o FILE`: where a command writes what was made, checked before anything is paid."""

from __future__ import annotations

import base64
import os
import shlex
import stat
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from mcp_types import CallToolResult, ImageContent

from kling_mcp.inputs.file_type import JPEG
from kling_mcp.inputs.policy import at_home
from kling_mcp.outputs.storage import VideoFolder
from kling_tools.errors import SaveFailed, UnsafePath
from kling_tools.products import PRODUCTS, PRODUCTS_BY_TOOL
from kling_tools.quoting import clipped
from kling_tools.tools.tool import SPENDING

__all__ = ["OutputFile"]

A_NAME = "Give the name of a file, such as clip.mp4."


LONGEST_SHOWN = 120
"""Characters of a path that an error shows."""


def _fault_of_file(place: Path) -> str:
    """What is wrong with a path that is to be a file; empty when nothing is."""
    try:
        status = place.lstat()
        if stat.S_ISLNK(status.st_mode):
            status = place.stat()
    except FileNotFoundError:
        return f"is a link to nothing: {place.readlink()}" if place.is_symlink() else ""
    except OSError as error:
        return f"no file can have that name: {error.strerror}"
    is_usual = stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)
    return "" if is_usual else "is a device, and the video has to be a file"


class OutputFile:
    """Where `-o` wants the file: an absolute path, which ends with a slash for a folder; empty
    without one."""

    def __init__(self, given: str | None) -> None:
        self._given = given or ""
        self.path = ""
        if given:
            whole = Path.cwd() / at_home(Path(given))
            is_folder = given.endswith(("/", os.sep)) or os.path.isdir(whole)  # noqa: PTH112
            self.path = f"{whole}{os.sep}" if is_folder else str(whole)

    @property
    def _folder(self) -> Path:
        return Path(self.path) if self.path.endswith(os.sep) else Path(self.path).parent

    def folders(self) -> list[Path]:
        """The folder of the file."""
        return [self._folder] if self.path else []

    def check(self, tool: str, *, several: bool) -> None:
        """Raises UnsafePath for a place where this tool's file, or its `several` files, cannot be
        written."""
        if not self.path:
            return
        folder = self._folder
        if self._given == "-":
            raise UnsafePath("-o -: nothing is written to standard output.", advice=A_NAME)
        if fault := _fault_of_file(Path(self.path)):
            raise UnsafePath(f"-o {clipped(self._given, LONGEST_SHOWN)}: {fault}.", advice=A_NAME)
        if not folder.is_dir():
            raise UnsafePath(
                f"-o {self._given}: the folder {folder} does not exist.",
                advice=f"Make it first: {shlex.join(['mkdir', '-p', str(folder)])}",
            )
        try:
            with TemporaryFile(dir=folder):
                pass
        except OSError as error:
            reason = error.strerror or "no reason given"
            raise UnsafePath(
                f"-o {self._given}: nothing can be written into {folder}: {reason}.",
                advice="Give another folder.",
            ) from error
        if several and not self.path.endswith(os.sep):
            raise UnsafePath(
                f"-o {self._given}: several tasks do not go into one file.",
                advice="Give a folder that is there.",
            )
        if tool == "kling_look" and not self.path.lower().endswith((*JPEG.suffixes, os.sep)):
            right = Path(self._given).with_suffix(JPEG.suffixes[0])
            raise UnsafePath(
                f"-o {self._given}: a video is shown in a JPEG.", advice=f"Give {right}."
            )
        if tool in SPENDING:
            products = PRODUCTS_BY_TOOL.get(tool)
            kind = PRODUCTS[products[0]].result if products else "video"
            VideoFolder(folder).target(self.path, task_id="0", kind=kind)

    @property
    def is_taken(self) -> bool:
        """Whether a file is there already."""
        return Path(self.path).is_file()

    def has_another(self, task: Mapping[str, Any]) -> bool:
        """Whether another file has the name, so that the task's own got a further one."""
        place = task.get("path")
        with suppress(OSError):
            return self.is_taken and place is not None and not Path(place).samefile(self.path)
        return False

    def taken(self) -> UnsafePath:
        """The error about a file that nobody may overwrite."""
        return UnsafePath(
            f"-o {self._given}: that file is there already, and it is not of this ledger.",
            advice="Nothing is overwritten: give another name, or move the file away.",
        )

    def write_pictures(self, answer: CallToolResult) -> list[str]:
        """Write the pictures of an answer; the second and further ones get a number. Returns their
        paths. Raises SaveFailed."""
        pictures = [part for part in answer.content if isinstance(part, ImageContent)]
        written = []
        for number, picture in enumerate(pictures if self.path else [], 1):
            place = Path(self.path)
            place /= "look.jpg" if self.path.endswith(os.sep) else ""
            place = place.with_stem(f"{place.stem}-{number}") if number > 1 else place
            try:
                with place.open("xb") as file:
                    file.write(base64.b64decode(picture.data))
            except OSError as error:
                raise SaveFailed(f"{place} cannot be written: {error.strerror}.") from error
            written.append(str(place))
        return written
