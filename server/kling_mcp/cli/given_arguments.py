"""What a command was given for its tool: options, JSON files, standard input, names of files."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from kling_mcp.cli.tool_commands import ToolCommand
from kling_mcp.cli.tool_options import ARGUMENT, FILE, read_json
from kling_mcp.inputs.policy import at_home
from kling_tools.errors import InvalidRequest
from kling_tools.faults import Fault

__all__ = ["given_arguments", "named_files"]

MEDIA = frozenset(
    {
        *("image", "image_tail", "image_list", "images", "video", "sound_file", "sample"),
        *("static_mask", "mask", "music", "file"),
    }
)
"""The arguments, and parts of arguments, that may name a file of this machine."""


def given_arguments(command: ToolCommand, parsed: argparse.Namespace) -> dict[str, Any]:
    """The arguments of the command's tools, as they were given. A prompt of `-` is read from
    standard input, and names of files are whole paths: those in a file of arguments begin in its
    folder, or in the working folder. Raises InvalidRequest for such a file that has none, and for
    what is no text."""
    folders = [Path.cwd()]
    in_file: dict[str, Any] = {}
    if command.file and (place := parsed.file):
        path = at_home(Path(place))
        in_file = _read_arguments(place, path)
        folders = [path.absolute().parent, *folders]
    given = {
        name.removeprefix(ARGUMENT): value
        for name, value in vars(parsed).items()
        if name.startswith(ARGUMENT) and value not in (None, [])
    }
    for name in command.words:
        if given.get(name) == "-":
            given[name] = _standard_input().strip()
    strange = [name for name, value in {**in_file, **given}.items() if not _is_text(value)]
    if strange:
        raise InvalidRequest(
            [Fault(name, "not_text", "is no text in UTF-8.", "UTF-8") for name in strange]
        )
    whole: dict[str, Any] = _whole(in_file, folders) | _whole(given, folders[-1:])
    return whole


def _standard_input() -> str:
    """What is there, also bytes that are no text; empty where it is closed."""
    return sys.stdin.buffer.read().decode("utf-8", "surrogateescape") if sys.stdin else ""


def _is_text(value: Any) -> bool:
    """Whether it can be sent: an argument of other bytes holds half characters."""
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


def _read_arguments(place: str, path: Path) -> dict[str, Any]:
    try:
        found = read_json(_standard_input() if place == "-" else path.read_text("utf-8-sig"))
    except OSError as error:
        raise _unreadable(f"{place} cannot be read: {error.strerror}.") from error
    except (ValueError, RecursionError) as error:
        raise _unreadable(f"{place} is no JSON: {error}.") from error
    if isinstance(found, list):
        found = {"name": "" if place == "-" else path.stem, "shots": found}
    if not isinstance(found, dict):
        raise _unreadable(f"{place} has neither an object nor a list.")
    return found


def _unreadable(message: str) -> InvalidRequest:
    use = 'an object such as {"name": "Tea", "shots": [{"prompt": "A kettle boils"}]}'
    return InvalidRequest([Fault(FILE, "unreadable", message, use)])


def _whole(value: Any, folders: Sequence[Path], name: str = "") -> Any:
    """The value, in which the names of files in these folders are whole paths."""
    if isinstance(value, dict):
        return {inner: _whole(part, folders, inner) for inner, part in value.items()}
    if isinstance(value, list):
        return [_whole(part, folders, name) for part in value]
    if name in MEDIA and isinstance(value, str):
        return next((str(path) for path in _files(value, folders)), value)
    return value


def _files(text: str, folders: Sequence[Path]) -> Iterator[Path]:
    with suppress(OSError, ValueError, RuntimeError):
        path = Path(text).expanduser()
        yield from (folder / path for folder in folders if (folder / path).is_file())


def named_files(value: Any, name: str = "") -> Iterator[Path]:
    """The files of this machine that arguments name."""
    if isinstance(value, dict):
        for inner, part in value.items():
            yield from named_files(part, inner)
    elif isinstance(value, list):
        for part in value:
            yield from named_files(part, name)
    elif name in MEDIA and isinstance(value, str) and Path(value).is_absolute():
        yield from _files(value, [Path.cwd()])
