"""Pictures given as a path or a `file:` URL, opened within the allowed folders only."""

from __future__ import annotations

import difflib
import os
import re
import stat
import unicodedata
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path, PureWindowsPath
from urllib.parse import unquote

from kling_mcp.inputs.file_type import (
    HEAD_BYTES,
    detect,
    named_like,
    read_header,
)
from kling_mcp.inputs.held import HeldFile, SourceChanged
from kling_mcp.inputs.policy import PicturePolicy, at_home
from kling_mcp.inputs.refusal import Refusal, short
from kling_tools.addresses import bare_task
from kling_tools.quoting import counted

__all__ = [
    "folder_of",
    "in_plain_signs",
    "nearest_name",
    "open_below",
    "open_file_url",
    "open_path",
    "same_looking",
]


def _flags(*names: str) -> int:
    return sum(getattr(os, name, 0) for name in names)


_FILE = _flags("O_RDONLY", "O_BINARY", "O_CLOEXEC", "O_NOCTTY", "O_NOFOLLOW", "O_NONBLOCK")
_FOLDER = _flags("O_RDONLY", "O_CLOEXEC", "O_DIRECTORY", "O_NOFOLLOW", "O_PATH")


def open_below(root: Path, real: Path) -> int:
    """A descriptor of `real`, an absolute path below `root`, both without symlinks.

    Each folder is opened from the one above it, so a folder that is replaced by a symlink at any
    moment leads nowhere. A pipe does not block. Raises `OSError`.
    """
    if os.open not in os.supports_dir_fd:
        return _open_and_look_again(real)
    *folders, name = real.relative_to(root).parts
    folder = os.open(root, _FOLDER)
    try:
        for part in folders:
            inner = os.open(part, _FOLDER, dir_fd=folder)
            os.close(folder)
            folder = inner
        return os.open(name, _FILE, dir_fd=folder)
    finally:
        os.close(folder)


def _open_and_look_again(real: Path) -> int:
    """Open a path on Windows, which opens whole paths only, and check that the open file is still
    the one at that path."""
    descriptor = os.open(real, _FILE)
    opened, now = os.fstat(descriptor), real.lstat()
    same = (opened.st_dev, opened.st_ino) == (now.st_dev, now.st_ino)
    if not same or os.path.realpath(real) != str(real):
        os.close(descriptor)
        raise OSError("the path changed while it was being opened")
    return descriptor


ENTRIES = 5_000
"""The most entries of one folder that are compared."""

NEAR = 0.6
"""The least likeness of two similar names, as `difflib` counts it (0 to 1)."""


def same_looking(root: Path, asked: Path) -> Path | None:
    """The one path below the root that differs from `asked` only in the kind of its spaces or in
    the composition of its accents; None without exactly one."""
    found = root
    for part in asked.relative_to(root).parts:
        if os.path.lexists(found / part):
            found /= part
            continue
        like = [name for name in _names(found) if in_plain_signs(name) == in_plain_signs(part)]
        if len(like) != 1:
            return None
        found /= like[0]
    return found


def nearest_name(folder: Path, name: str) -> str | None:
    """The name of the picture in the folder that is most like `name`; None without a like one."""
    pictures = {in_plain_signs(n).casefold(): n for n in _names(folder) if named_like(n)}
    near = difflib.get_close_matches(in_plain_signs(name).casefold(), pictures, n=1, cutoff=NEAR)
    return pictures[near[0]] if near else None


def _stem(name: str) -> str:
    """A name without its ending, and without differences of case, spaces and accents."""
    return Path(in_plain_signs(name)).stem.casefold()


def in_plain_signs(text: str) -> str:
    """The text with composed accents and usual spaces."""
    if text.isascii():
        return text
    composed = unicodedata.normalize("NFC", text)
    return "".join(" " if unicodedata.category(sign) == "Zs" else sign for sign in composed)


def _names(folder: Path) -> Iterator[str]:
    try:
        with os.scandir(folder) as entries:
            yield from (entry.name for entry in islice(entries, ENTRIES))
    except OSError:
        return


_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_TILDE = re.compile(r"~(?:[/\\]|$)")


def open_file_url(url: str, policy: PicturePolicy) -> HeldFile:
    """The file behind a `file:` URL of this machine; raises `Refusal`."""
    return open_path(_path_of_url(url), policy)


def _path_of_url(url: str) -> str:
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
    return unquote(rest)


def open_path(text: str, policy: PicturePolicy) -> HeldFile:
    """Open the file that `text` names.

    `~` is the home folder. A relative path is tried in each root in turn: the first existing file
    is taken, else the first whose name looks the same. Raises `Refusal`; for a path outside the
    roots it does not tell whether the file exists.
    """
    return _open(*_found(text, policy), policy)


def folder_of(value: str, policy: PicturePolicy) -> Path | None:
    """The folder of a picture that is given as a path or a `file:` URL; None for any other form,
    and when the picture is not there, or in no folder that pictures may come from."""
    if re.match(r"(?!file:)[a-z][a-z0-9+.-]+:", value, re.IGNORECASE):
        return None
    try:
        text = _path_of_url(value) if value.lower().startswith("file:") else value
        _, real, _ = _found(text, policy)
    except (Refusal, OSError, ValueError):
        return None
    return real.parent


def _found(text: str, policy: PicturePolicy) -> tuple[Path, Path, Path]:
    """The root above the file that `text` names, the file without symlinks, and the path as it was
    given. Raises `Refusal`."""
    if not policy.allow_local:
        raise Refusal(
            "path_not_allowed",
            "this server takes no local files.",
            f"{policy.forms_elsewhere}, or kling_upload_picture",
        )
    if _CONTROL.search(text) or not _encodable(text):
        raise Refusal(
            "path_characters",
            "the path contains characters that no path may contain.",
            policy.forms,
        )
    paths = [at_home(Path(form)) if _TILDE.match(form) else Path(form) for form in _forms(text)]
    inside = [
        (root, real, path)
        for path in paths
        for attempt in dict.fromkeys(_attempts(path, policy))
        if (real := Path(os.path.realpath(attempt))) and (root := policy.root_of(real))
    ]
    if not inside:
        raise _outside(paths[0], policy)
    for root, real, path in inside:
        if _exists(real):
            return root, real, path
    for root, real, path in inside:
        like = same_looking(root, real)
        if like and (other := Path(os.path.realpath(like))) and policy.root_of(other) == root:
            return root, other, path
    raise _missing(paths[0], policy, [real for _, real, _ in inside])


def _forms(text: str) -> list[str]:
    """The path, and the path without a shell's backslashes before its spaces."""
    if os.name == "nt" or "\\" not in text:
        return [text]
    return [text, re.sub(r"\\(.)", r"\1", text)]


def _attempts(path: Path, policy: PicturePolicy) -> list[Path]:
    """The places to look for the path, also below a root with other spaces or accents, and in the
    folder of the person that its first part is a word for."""
    roots = policy.real_roots()
    if not path.is_absolute():
        first, *rest = path.parts or ("",)
        own = policy.folders().get(first.casefold())
        return [*(root / path for root in roots), *([own.joinpath(*rest)] if own else [])]
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


def _open(root: Path, real: Path, named: Path, policy: PicturePolicy) -> HeldFile:
    label = short(named.name or str(named))
    try:
        status = real.lstat()
        if stat.S_ISDIR(status.st_mode):
            raise _folder_refusal(root, real, named, policy)
        _refuse_irregular(status, label)
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
    if not stat.S_ISREG(status.st_mode):
        raise Refusal(
            "path_not_a_file",
            f"{label} is no file but a device, a pipe, a socket or a link to itself.",
            "the path of a file",
        )


LISTED = 50
"""The most pictures of a folder that are named."""


def _folder_refusal(root: Path, folder: Path, named: Path, policy: PicturePolicy) -> Refusal:
    """The refusal of a folder, which names its pictures with their sizes, the newest first."""
    try:
        with os.scandir(folder) as entries:
            files = [
                (entry.stat(follow_symlinks=False).st_mtime, entry.name)
                for entry in islice(entries, ENTRIES)
                if named_like(entry.name) in policy.readable
                and entry.is_file(follow_symlinks=False)
            ]
    except OSError as error:
        reason = error.strerror or "it was moved"
        return Refusal(
            "path_is_folder", f"{short(str(named))} is a folder ({reason}).", policy.forms
        )
    label = short(str(named))
    if not files:
        use = f"the path of a {policy.noun}"
        return Refusal("path_is_folder", f"{label} is a folder without {policy.noun}s.", use)
    newest = [name for _, name in sorted(files, key=lambda file: (-file[0], file[1]))[:LISTED]]
    count = counted(len(files), policy.noun)
    shown = f"; the newest {LISTED} are named" if len(files) > LISTED else ""
    return Refusal(
        "path_is_folder",
        f"{label} is a folder with {count}{shown}.",
        f"the path of one of them, such as {short(str(named / newest[0]))}",
        choices=[f"{short(name)} {_size_of(root, folder / name)}".strip() for name in newest],
    )


def _size_of(root: Path, real: Path) -> str:
    """The size of a picture in pixels, as a viewer shows it; empty when it cannot be read."""
    try:
        with os.fdopen(open_below(root, real), "rb", buffering=0) as file:
            _refuse_irregular(os.fstat(file.fileno()), real.name)
            held = HeldFile(file, real.name)
            header = read_header(held, detect(held.head(HEAD_BYTES)))
    except (OSError, Refusal, SourceChanged):
        return ""
    return f"{header.width}x{header.height}" if header else ""


def _outside(path: Path, policy: PicturePolicy) -> Refusal:
    return Refusal(
        "path_outside_roots",
        f"{short(path.name or str(path))} is not in a folder that {policy.noun}s may be read from.",
        f"a {policy.noun} inside {policy.roots_text()}, or add its folder to KLING_MCP_IMAGE_ROOTS",
    )


_PICTURE_NAME = re.compile(r"\.(?:jpe?g|png|hei[cf]|webp|avif|gif|bmp|tiff?)\b", re.IGNORECASE)


def _missing(path: Path, policy: PicturePolicy, reals: Sequence[Path]) -> Refusal:
    text = str(path)
    if len(_PICTURE_NAME.findall(text)) > 1:
        return Refusal(
            "path_missing",
            f"{short(text)} is no file; it seems to name several pictures.",
            "one path; kling_multi_image_to_video takes several, as a list in image_list",
        )
    if task := bare_task(text):
        noun = "picture" if policy.noun == "picture" else "video"
        form = (
            f"{task}/frames/last (or first, or seconds)" if noun == "picture" else f"{task}/video"
        )
        message = f"{short(text)} is no file; it looks like the id of a task."
        return Refusal("path_missing", message, form)
    for folder in dict.fromkeys(policy.folders().values()):
        elsewhere = same_looking(folder, folder / path.name) if path.name else None
        if elsewhere and policy.root_of(Path(os.path.realpath(elsewhere))):
            message = f"there is no file {short(path.name)} at that path, but one in {folder.name}"
            return Refusal(
                "path_missing", f"{message}.", f"{elsewhere} if the person says that it is meant"
            )
    for real in reals:
        if name := nearest_name(real.parent, real.name):
            shown = in_plain_signs(str(path.with_name(name)))
            message = (
                f"there is no file {short(path.name)} at that path; the nearest name there is "
                f"{short(in_plain_signs(name))}"
            )
            if _stem(name) == _stem(real.name):
                return Refusal("path_missing", f"{message}.", shown)
            return Refusal(
                "path_missing",
                f"{message}, which may be another {policy.noun}.",
                f"{shown} if the person says that this one is meant",
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
    return Refusal("path_missing", message, policy.forms)
