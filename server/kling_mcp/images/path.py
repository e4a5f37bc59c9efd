"""Local pictures: opened only inside the roots, whatever links and races try."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Sequence
from pathlib import Path, PureWindowsPath
from urllib.parse import unquote

from kling_mcp.images.descent import open_below
from kling_mcp.images.held import HeldFile
from kling_mcp.images.lookalikes import in_plain_signs, nearest_name, same_looking
from kling_mcp.images.policy import PicturePolicy, at_home
from kling_mcp.images.refusal import FORMS, Refusal, short

__all__ = ["open_file_url", "open_path"]

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_TILDE = re.compile(r"~(?:[/\\]|$)")


def open_file_url(url: str, policy: PicturePolicy) -> HeldFile:
    """The file behind a `file:` URL of this machine; raises `Refusal`."""
    rest = url.partition(":")[2]
    if rest.startswith("//"):
        host, slash, path = rest[2:].partition("/")
        if host.lower() not in ("", "localhost"):
            raise Refusal(
                "file_url_host",
                "a file URL can only name a file of this machine, without a host.",
                "file:/// followed by the absolute path",
            )
        rest = slash + path
    if os.name == "nt":
        rest = re.sub(r"^/(?=[A-Za-z]:)", "", rest)
    return open_path(unquote(rest), policy)


def open_path(text: str, policy: PicturePolicy) -> HeldFile:
    """The file that `text` names, held open.

    `~` is the home folder; a relative path is tried in each root in turn and the first that
    exists is taken, else the first whose name looks the same. Raises `Refusal`: for a path outside
    the roots the same one whether or not there is such a file.
    """
    if not policy.allow_local:
        raise Refusal(
            "path_not_allowed",
            "this server takes no local files.",
            "an https URL, a data: URI or raw base64 of a JPEG or PNG, or kling_upload_picture",
        )
    if _CONTROL.search(text) or not _encodable(text):
        raise Refusal(
            "path_characters", "the path contains characters that no path may contain.", FORMS
        )
    paths = [at_home(Path(form)) if _TILDE.match(form) else Path(form) for form in _forms(text)]
    inside = [
        (root, real, path)
        for path in paths
        for attempt in _attempts(path, policy)
        if (real := Path(os.path.realpath(attempt))) and (root := policy.root_of(real))
    ]
    if not inside:
        raise _outside(paths[0], policy)
    for root, real, path in inside:
        if _exists(real):
            return _open(root, real, path)
    for root, real, path in inside:
        like = same_looking(root, real)
        if like and (other := Path(os.path.realpath(like))) and policy.root_of(other) == root:
            return _open(root, other, path)
    raise _missing(paths[0], policy, [real for _, real, _ in inside])


def _forms(text: str) -> list[str]:
    """The path, and what is meant where a shell's backslashes stand before its spaces."""
    if os.name == "nt" or "\\" not in text:
        return [text]
    return [text, re.sub(r"\\(.)", r"\1", text)]


def _attempts(path: Path, policy: PicturePolicy) -> list[Path]:
    """Where it may lie: a root may be spelt with other spaces or accents, too."""
    roots = policy.real_roots()
    if not path.is_absolute():
        return [root / path for root in roots]
    below = [
        root.joinpath(*path.parts[len(root.parts) :])
        for root in roots
        if in_plain_signs(str(Path(*path.parts[: len(root.parts)]))) == in_plain_signs(str(root))
    ]
    return [path, *below]


def _encodable(text: str) -> bool:
    try:
        os.fsencode(text)
    except UnicodeEncodeError:
        return False
    return True


def _exists(real: Path) -> bool:
    try:
        real.lstat()
    except PermissionError:
        return True
    except OSError:
        return False
    return True


def _open(root: Path, real: Path, named: Path) -> HeldFile:
    label = short(named.name or str(named))
    try:
        _refuse_irregular(real.lstat(), label)
        descriptor = open_below(root, real)
    except OSError as error:
        raise Refusal(
            "path_unreadable",
            f"{label} cannot be opened ({error.strerror or 'it was moved'}).",
            "a file that the server's user can read",
        ) from error
    try:
        _refuse_irregular(os.fstat(descriptor), label)
        file = os.fdopen(descriptor, "rb", buffering=0)
    except BaseException:
        os.close(descriptor)
        raise
    return HeldFile(file, label)


def _refuse_irregular(status: os.stat_result, label: str) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise Refusal("path_is_folder", f"{label} is a folder.", "the path of one picture in it")
    if not stat.S_ISREG(status.st_mode):
        raise Refusal(
            "path_not_a_file",
            f"{label} is no file but a device, a pipe, a socket or a link to itself.",
            "the path of a picture file",
        )


def _outside(path: Path, policy: PicturePolicy) -> Refusal:
    return Refusal(
        "path_outside_roots",
        f"{short(path.name or str(path))} is not in a folder that pictures may be read from.",
        f"a picture inside {policy.roots_text()}, or add its folder to KLING_MCP_IMAGE_ROOTS",
    )


def _missing(path: Path, policy: PicturePolicy, reals: Sequence[Path]) -> Refusal:
    for real in reals:
        if name := nearest_name(real.parent, real.name):
            return Refusal(
                "path_missing",
                f"there is no file {short(path.name)} at that path; the nearest name there is "
                f"{short(in_plain_signs(name))}.",
                in_plain_signs(str(path.with_name(name))),
            )
    if os.name != "nt" and PureWindowsPath(path).drive:
        message = f"{short(str(path))} is a Windows path, and this server does not run on Windows."
    elif path.is_absolute():
        message = f"there is no file {short(path.name)} at that path."
    else:
        message = (
            f"there is no file {short(str(path))}; a relative path is looked up in "
            f"{policy.roots_text()}."
        )
    return Refusal("path_missing", message, FORMS)
