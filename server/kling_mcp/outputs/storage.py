"""Where saved videos lie: in a folder of this machine, under names that are readable and valid
everywhere, or wherever a hosted server keeps them."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol
from urllib.parse import unquote

from anyio import to_thread

from kling_mcp.inputs.path import folder_of
from kling_mcp.outputs.part import Originals
from kling_mcp.outputs.pictures import PICTURE_TYPES
from kling_tools.errors import UnsafePath
from kling_tools.products import Result
from kling_tools.quoting import clipped

if TYPE_CHECKING:
    from kling_mcp.inputs.policy import PicturePolicy
    from kling_mcp.ledger import Record
    from kling_mcp.outputs.saving import VideoFile
    from kling_mcp.tasks.views import Link

__all__ = [
    "NAME_LIMIT_BYTES",
    "FolderStorage",
    "VideoFolder",
    "VideoStorage",
    "default_name",
    "is_automatic",
    "media_type",
    "name_fault",
    "name_of",
]


NAME_LIMIT_BYTES = 200
"""UTF-8 bytes of a file name; below the usual 255 so that a counter or a part mark still fits."""

_SLUG_LIMIT = 40
_PICTURE_LIMIT = 20
_SLUG_BYTES = 2.5
"""Bytes for each character that a limit allows: scripts with longer ones get fewer."""

_FILE_SUFFIX = re.compile(r"[A-Za-z0-9]{2,5}")
_TASK_ID_LIMIT = 64
_REFERENCE = re.compile(r"<<<\w*>>>")
_KEPT_CATEGORIES = frozenset("LNM")
_REFUSED_CHARACTERS = frozenset('<>:"|?*\\')
_REFUSED_CATEGORIES = frozenset(("Cc", "Cs", "Zl", "Zp"))
_WRITING_DIRECTION = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_DEVICES = frozenset(
    ["con", "prn", "aux", "nul", "conin$", "conout$"]
    + [port + digit for port in ("com", "lpt") for digit in "0123456789¹²³"]
)


SUFFIXES: Mapping[Result, tuple[str, ...]] = {
    "video": (".mp4",),
    "picture": tuple(suffix for kind in PICTURE_TYPES for suffix in kind.suffixes),
}
"""The endings of the names of files by what they hold, the usual one first."""

_MIME = {
    ".mp4": "video/mp4",
    ".mov": "video/quicktime",
    ".png": "image/png",
    ".webp": "image/webp",
    ".mp3": "audio/mpeg",
    ".wav": "audio/wav",
    ".m4a": "audio/mp4",
    ".aac": "audio/aac",
}


def media_type(name: str) -> str:
    """The MIME type of a saved file with this name or path."""
    return _MIME.get(Path(name).suffix.lower(), "image/jpeg")


def default_name(prompt: str, task_id: str, *, picture: str = "", ending: str = ".mp4") -> str:
    """A name from the picture's file name, the prompt's first words and the task's id, ending in
    `.mp4`, or in another `ending`. A picture without a file name is left out."""
    drawn = _slug(_stem(picture), _PICTURE_LIMIT)
    words = _slug(prompt, _SLUG_LIMIT - len(drawn))
    what = "-".join(filter(None, (drawn, words))) or "kling"
    return f"{what}-{_identifier(task_id) or 'video'}{ending}"


def _stem(name: str) -> str:
    """The name of a file without its ending; empty for what is no name of a file."""
    stem, dot, suffix = name.rpartition("/")[2].rpartition(".")
    return stem if dot and _FILE_SUFFIX.fullmatch(suffix) else ""


def _named_after(record: Record) -> str:
    """The first file that the row was made from; empty without one."""
    return next(filter(_stem, record.pictures), "")


def name_of(record: Record) -> str:
    """The default name of a row's file."""
    kinds = SUFFIXES[record.result]
    saved = Path(record.path or "").suffix.lower()
    name = default_name(
        record.prompt,
        record.handle,
        picture=_named_after(record),
        ending=saved if saved in kinds else kinds[0],
    )
    return numbered_name(name, record.number) if record.several else name


def numbered_name(name: str, number: int) -> str:
    """The name of one of several files: `fox.png` becomes `fox-2.png`."""
    return str(Path(name).with_stem(f"{Path(name).stem}-{number}"))


def _slug(prompt: str, limit: int) -> str:
    """The first words in lower case, joined by hyphens, at most `limit` characters; letters of
    every script are kept."""
    text = unicodedata.normalize("NFKC", _REFERENCE.sub(" ", prompt[:1000])).lower()
    letters = "".join(ch if unicodedata.category(ch)[0] in _KEPT_CATEGORIES else " " for ch in text)
    limit_bytes = int(limit * _SLUG_BYTES)
    slug = ""
    for word in letters.split():
        # Scripts without spaces make one word of a whole sentence.
        short = word[:limit].encode()[:limit_bytes].decode(errors="ignore")
        longer = f"{slug}-{word}" if slug else short
        if len(longer) > limit or len(longer.encode()) > limit_bytes:
            break
        slug = longer
    return slug


def _identifier(task_id: str) -> str:
    return re.sub(r"[^A-Za-z0-9_-]+", "-", task_id)[:_TASK_ID_LIMIT].strip("-")


def is_automatic(path: Path, automatic: Path) -> bool:
    """Whether a file has the place that it gets without being asked for one (`automatic`), or a
    numbered one beside it. What ends like it was named by a person."""
    if path.parent != automatic.parent:
        return False
    kinds = next(kinds for kinds in SUFFIXES.values() if automatic.suffix.lower() in kinds)
    stem, ends = re.escape(automatic.stem), "|".join(map(re.escape, kinds))
    return re.fullmatch(rf"{stem}(-\d+)?({ends})", path.name) is not None


def name_fault(name: str) -> str | None:
    """What makes a file name unusable on some common system, as the rest of "the name …".

    None when nothing does. Windows' rules hold everywhere, because folders are copied and synced.
    """
    for ch in name:
        if ch in _REFUSED_CHARACTERS:
            return f"has the character {ch}, which Windows refuses"
        if unicodedata.category(ch) in _REFUSED_CATEGORIES or ch in _WRITING_DIRECTION:
            return f"has the control character U+{ord(ch):04X}"
    if len(name.encode()) > NAME_LIMIT_BYTES:
        return f"is longer than {NAME_LIMIT_BYTES} bytes"
    if name.split(".")[0].rstrip(" ").lower() in _DEVICES:
        return "is the name of a device on Windows"
    return None


SETTING = "KLING_MCP_OUTPUT_DIR"
PATH_LIMIT = 1000
"""Characters of a path that may be asked for."""

_SHOWN_LIMIT = 80
_SPACES = "".join(map(chr, (0x20, 0xA0, 0x1680, *range(0x2000, 0x200B), 0x202F, 0x205F, 0x3000)))
"""All of Unicode's category Zs."""

_PART_LIMIT_BYTES = 255

Words = Callable[[], Mapping[str, Path]]
"""Looks up the folders of the person, by the words for them, once a path is given."""

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")
_FILE_URL = re.compile(r"file://(?:localhost)?(?=/)", re.IGNORECASE)
_WINDOWS_PATH = re.compile(r"[A-Za-z]:[\\/]|\\\\")
_OWN = re.compile(r"(?:(?:on|to|in|into) )?(?:my|the) +", re.IGNORECASE)
_BESIDE = re.compile(
    r"(?:beside|next to|near|with|by|alongside) (?:the|my|its) (?:picture|photo|image)s?"
    r"|(?:the )?(?:same folder|folder of the picture|picture's folder)",
    re.IGNORECASE,
)
_WINDOWS_DRIVE = re.compile(r"/[A-Za-z]:[/\\]")
_SUFFIX = re.compile(r"\.(?=[^.]*[A-Za-z])[A-Za-z0-9]{1,5}$")
_REFUSED_IN_FOLDERS = ("Cc", "Cs")

PLACES = ("desktop", "desk", "downloads", "download", "pictures", "photos")
"""Words that mean a place of the person's and not just a folder's name."""


class VideoFolder:
    """Turns what an agent asks for into a file below `root` or one of the `others`, symlinks
    resolved.

    `root` is what `KLING_MCP_OUTPUT_DIR` says; it need not exist yet. The others count only where
    they exist. `words` stand for folders of the person at the beginning of a path:
    desktop/clip.mp4.
    """

    def __init__(self, root: Path, others: Sequence[Path] = (), words: Words = dict) -> None:
        self.root = root.expanduser().absolute()
        self._others = others
        self._words = words

    def target(
        self,
        path: str | None = None,
        *,
        prompt: str = "",
        task_id: str,
        picture: str = "",
        beside: Sequence[Path] = (),
        kind: Result = "video",
        number: int = 0,
    ) -> Path:
        """The file that a video should be saved as; nothing is created.

        Without `path`, or when it names a folder (an existing one, or with a slash at its end),
        the name is made from the picture's, the prompt and the task's id (`default_name`). A
        relative path is taken from the root; an absolute one, a `~` one and a `file://` URL must
        lie below it or one of the others, or directly in one of the folders `beside`. Spaces at
        the ends of its parts are left out, a missing `.mp4` is added.
        The file may exist already: whoever writes it claims a free name
        (`kling_mcp.outputs.saving`).

        Raises `UnsafePath` for a path outside these folders, one that no file can have, and a
        suffix other than `.mp4`. A picture (`kind`) has another suffix; `number` stands in the
        name of one of several files.
        """
        usual = SUFFIXES[kind][0]
        default = default_name(prompt, task_id, picture=picture, ending=usual)
        default = numbered_name(default, number) if number else default
        if path is None or not path.strip():
            return self.root / default
        path = path.strip(_SPACES)
        if beside and (place := _BESIDE.match(path)) and path[place.end() :][:1] in ("", "/"):
            path = f"{beside[0]}{os.sep}{path[place.end() :].lstrip('/')}"
        asked = self._read(path)
        is_folder = path.endswith(("/", os.sep))
        root, below = self._place(asked, path, beside)
        below = self._trimmed(root, below, path, is_folder=is_folder)
        if is_folder or below == Path() or (root / below).is_dir():
            whole = root / below / default
        else:
            name = self._file_name(below.name, path, kind)
            name = numbered_name(name, number) if number else name
            whole = (root / below).with_name(name)
        root, below = self._place(whole, path, beside)
        return root / below

    def _read(self, path: str) -> Path:
        """The path that was asked for, absolute but not resolved."""
        if len(path) > PATH_LIMIT:
            raise self._refusal(path, f"is longer than {PATH_LIMIT} characters")
        if os.name != "nt" and _WINDOWS_PATH.match(path):
            raise self._refusal(path, "is a Windows path, and this server does not run on Windows")
        local = path
        if _SCHEME.match(path):
            local, urls = _FILE_URL.subn("", path)
            if not urls:
                raise self._refusal(path, "is not the path of a local file")
            local = unquote(local)
            if _WINDOWS_DRIVE.match(local):
                local = local[1:]
        if any(unicodedata.category(ch) in _REFUSED_IN_FOLDERS for ch in local):
            raise self._refusal(path, "has a control character in it")
        try:
            asked = self.root / self._from_word(Path(local).expanduser())
        except RuntimeError:
            raise self._refusal(path, "begins with a home folder that does not exist") from None
        if any(len(part.encode()) > _PART_LIMIT_BYTES for part in asked.parts):
            raise self._refusal(path, f"has a part of more than {_PART_LIMIT_BYTES} bytes")
        return asked

    def _from_word(self, path: Path) -> Path:
        """The path with a folder of the person in the place of its first part, if that is a word
        for one, and no folder of ours has that name. Raises UnsafePath for a desktop or downloads
        folder that cannot be written to: a folder of that name elsewhere is not what was meant."""
        first, *rest = path.parts or ("",)
        word = _OWN.sub("", first.strip(_SPACES), count=1).casefold().removesuffix(" folder")
        folder = self._words().get(word)
        if folder is None or (self.root / first).exists():
            return path
        if folder in self._others and folder.is_dir():
            return folder.joinpath(*rest)
        if word in PLACES:
            missing = "" if folder.is_dir() else ", which this machine does not have"
            raise self._refusal(str(path), f"begins with the person's {word} folder{missing}")
        return path

    def _place(self, asked: Path, path: str, beside: Sequence[Path]) -> tuple[Path, Path]:
        """The allowed folder that a path lies below, and the path from there on, after symlinks."""
        try:
            real = asked.resolve()
            for root in (self.root, *filter(Path.is_dir, self._others)):
                if real.is_relative_to(root.resolve()):
                    return root, real.relative_to(root.resolve())
            for folder in beside:
                if folder.resolve() in (real, real.parent):
                    return folder, real.relative_to(folder.resolve())
        except (OSError, RuntimeError):
            raise self._refusal(path, "cannot be followed") from None
        raise self._refusal(path, "lies outside")

    def _trimmed(self, root: Path, below: Path, path: str, *, is_folder: bool) -> Path:
        """The path without spaces at the ends of its parts; folders that are to be made have names
        that every common system takes."""
        names = [*below.parts] if is_folder else [*below.parts[:-1]]
        folder = Path()
        for name in (name.strip().rstrip(". ") for name in names):
            folder /= name
            fault = name_fault(name) if name else "has a folder without a name"
            if fault and not (root / folder).is_dir():
                raise self._refusal(path, fault)
        return folder if is_folder else folder / below.name.strip()

    def _file_name(self, name: str, path: str, kind: Result) -> str:
        kinds = SUFFIXES[kind]
        if name.lower().endswith(kinds):
            full = name
        elif suffix := _SUFFIX.search(name):
            right = clipped(f"{path.strip().removesuffix(suffix[0])}{kinds[0]}", _SHOWN_LIMIT)
            made = "videos are MP4 files" if kind == "video" else "pictures are PNG or JPEG files"
            raise UnsafePath(
                f"Kling's {made}: the ending {suffix[0]} is wrong.",
                advice=f"Give {right}; another program can convert the file.",
            )
        else:
            full = name + kinds[0]
        if not full[: full.rindex(".")].strip(" ."):
            raise self._refusal(path, f"has no name before {kinds[0]}")
        if fault := name_fault(full):
            raise self._refusal(path, fault)
        return full

    def _refusal(self, path: str, fault: str) -> UnsafePath:
        shown = clipped(path, _SHOWN_LIMIT)
        names = [folder.name for folder in self._others if folder.is_dir()]
        others = f", in {', '.join(names)} or beside the picture" if names else ""
        examples = f" or {names[0].lower()}/clip.mp4" if names and self._words() else ""
        return UnsafePath(
            f"Videos are saved below {self.root}{others} only, and the path {shown!r} {fault}.",
            advice=f"Give a plain name such as clip.mp4{examples}, or none; whoever runs the "
            f"server can allow other folders with {SETTING} and KLING_MCP_SAVE_ROOTS.",
        )


class VideoStorage(Protocol):
    """Keeps saved videos; the row's `path` says where.

    With `private` no caller sees a path: it would be one of somebody else's machine. Downloads grow
    below `root`.
    """

    private: bool
    root: Path

    def target(self, path: str, handle: str, record: Record | None) -> Path:
        """The file that a task's video is to be written to. `path` is what the caller asked for,
        empty for nothing. Raises UnsafePath and other KlingErrors."""
        ...

    async def store(self, saved: VideoFile, record: Record) -> str:
        """Take the file that was written and return the row's new `path`. Raises SaveFailed."""
        ...

    async def file(self, record: Record) -> Path | None:
        """A file of this machine with the row's saved video; None when it is gone or was changed.
        Raises KlingError while that cannot be found out."""
        ...

    async def examine(self, records: Sequence[Record]) -> None:
        """Find out which of the saved videos were changed, as far as that is done soon."""
        ...

    def seems_there(self, record: Record) -> bool:
        """Whether the row's video seems to be where it was saved, by what is known of it."""
        ...

    def is_changed(self, record: Record) -> bool:
        """Whether another file lies where it was saved."""
        ...

    def link(self, record: Record) -> Link | None:
        """An address at which the row's video can be read; None where callers read the file."""
        ...


EXAMINED_BYTES = 256 * 1024**2
"""Of saved files that are read for one answer at most, to see whether they were changed."""


def _listed(value: object) -> list[object]:
    return value if isinstance(value, list) else []


class FolderStorage:
    """Videos below one folder, under the names that callers ask for; and, where a caller names
    them, in the person's own folders (`others`, with their `words`) and beside the pictures of the
    task, as far as `pictures` says that those may be read."""

    private = False

    def __init__(
        self,
        folder: Path,
        others: Sequence[Path] = (),
        words: Words = dict,
        pictures: PicturePolicy | None = None,
    ) -> None:
        self._folder = VideoFolder(folder, others, words)
        self.root = self._folder.root
        self._pictures = pictures if others else None
        self._originals = Originals()

    def target(self, path: str, handle: str, record: Record | None) -> Path:
        """A path below the folder; see `VideoFolder.target`."""
        if record is None:
            return self._folder.target(path or None, task_id=handle)
        return self._folder.target(
            path or None,
            prompt=record.prompt,
            task_id=handle,
            picture=_named_after(record),
            beside=self._beside(record) if path else [],
            kind=record.result,
            number=record.number if record.several else 0,
        )

    def _beside(self, record: Record) -> list[Path]:
        """The folders of the task's pictures that are files of this machine."""
        if self._pictures is None:
            return []
        given = [record.arguments.get("image"), *_listed(record.arguments.get("image_list"))]
        found = [folder_of(value, self._pictures) for value in given if isinstance(value, str)]
        return [folder for folder in found if folder]

    async def store(self, saved: VideoFile, record: Record) -> str:
        """The file stays where it is."""
        self._originals.remember(saved.path, saved.sha256)
        return str(saved.path)

    async def file(self, record: Record) -> Path | None:
        """The file, unless it was moved, deleted or changed."""
        there = await to_thread.run_sync(self._has, record)
        return Path(record.path) if record.path and there else None

    async def examine(self, records: Sequence[Record]) -> None:
        """Reads those that it has not read yet, up to `EXAMINED_BYTES`."""
        left, unread = EXAMINED_BYTES, []
        for record in (each for row in records for each in row.each_file()):
            if record.path and not self._originals.is_read(Path(record.path)):
                left -= record.bytes or 0
                unread += [record] if left >= 0 else []
        if unread:
            await to_thread.run_sync(lambda: [self._has(record) for record in unread])

    def _has(self, record: Record) -> bool:
        place = record.path
        return place is not None and self._originals.has(Path(place), record.bytes, record.sha256)

    def seems_there(self, record: Record) -> bool:
        """Whether files of that name and size exist of which no other content is known."""
        return all(
            each.path is not None
            and self._originals.seems(Path(each.path), each.bytes, each.sha256)
            for each in record.each_file()
        )

    def is_changed(self, record: Record) -> bool:
        """Whether a file of that name exists with other content."""
        return any(
            each.path is not None
            and Path(each.path).exists()
            and not self._originals.seems(Path(each.path), each.bytes, each.sha256)
            for each in record.each_file()
        )

    def link(self, record: Record) -> Link | None:
        """None: whoever asks reads the file itself."""
        return None
