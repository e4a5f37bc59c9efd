"""The change of one file: what it would be, how it is shown, written and taken back.

Beside a file that was there its older self is kept as `NAME.before-kling-mcp`. As long as putting
the entry into that gives the file as it is now, taking it out gives that back, byte for byte.
"""

from __future__ import annotations

import difflib
import os
import shutil
import tempfile
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kling_mcp.installing.edits import Edit, Format, ListItem, NotEditable, Put
from kling_mcp.installing.jsonc import JSONC
from kling_mcp.installing.toml_text import TOML
from kling_mcp.installing.yaml_text import YAML_TEXT
from kling_tools.errors import KlingError

__all__ = ["FORMATS", "Change", "made_anew", "plan_install", "plan_uninstall", "shown", "write"]

FORMATS: dict[str, Format] = {"json": JSONC, "toml": TOML, "yaml": YAML_TEXT}

MARK = "\ufeff"
LINE_SHOWN = 160
"""Characters of a line that are shown: a file on one line may hold anything."""


@dataclass(frozen=True, slots=True)
class Change:
    """A file's text before and after; None where there is no file. `keeps_backup`: the older self
    beside it stays as it is; `backup_goes`: it is not needed any more."""

    path: Path
    before: str | None
    after: str | None
    keeps_backup: bool = False
    backup_goes: bool = False

    @property
    def backup(self) -> Path:
        """Where the older self is kept: beside the file itself, also when a link leads to it."""
        real = self.path.resolve()
        return real.with_name(real.name + ".before-kling-mcp")


def plan_install(path: Path, format_name: str, edits: Sequence[Edit]) -> Change:
    """The change that puts the edits into the file; raises KlingError when it cannot be made."""
    form, before = FORMATS[format_name], _read(path)
    try:
        after = _put_all(form, before or "", edits)
        _check(form, before or "", after, edits, gone=False)
        known = _found(form, before or "", edits[-1]) is not None
    except NotEditable as error:
        raise _refused(path, error) from error
    older_is_kept = known and Change(path, before, after).backup.exists()
    return Change(path, before, after, keeps_backup=older_is_kept)


def plan_uninstall(
    path: Path,
    format_name: str,
    own: Sequence[Edit],
    secrets: Callable[[Mapping[str, Any]], Collection[str]],
) -> tuple[Change, Mapping[str, Any]]:
    """The change that takes them out, and the entry that goes; `own` are edits whose paths and ids
    count, not the values. A file with secrets of the entry in it is not copied to a backup.

    Raises KlingError when the file cannot be read.
    """
    before = _read(path)
    if before is None:
        return Change(path, None, None), {}
    form = FORMATS[format_name]
    try:
        now = [edit for edit in own if _found(form, before, edit) is not None]
        now = [_as_it_is(form, before, edit) for edit in now]
        entry = now[-1].value if now else {}
        older = _read(Change(path, before, before).backup)
        if now and _same_again(form, older or "", now, before):
            return Change(path, before, older, keeps_backup=True, backup_goes=True), entry
        mark = MARK if before.startswith(MARK) else ""
        after = before.removeprefix(MARK)
        for edit in now:
            after = form.take(after, edit)
        _check(form, before, after, now, gone=True)
    except NotEditable as error:
        raise _refused(path, error) from error
    return Change(path, before, mark + after, keeps_backup=bool(secrets(entry))), entry


def made_anew(format_name: str, edits: Sequence[Edit]) -> str:
    """The text of a file that holds nothing else."""
    return _put_all(FORMATS[format_name], "", edits)


def shown(change: Change, secrets: Collection[str] = ()) -> str:
    """The change as a unified diff, without these secrets; empty when nothing changes."""
    lines = difflib.unified_diff(
        (change.before or "").splitlines(),
        (change.after or "").splitlines(),
        str(change.path) if change.before is not None else "(no file)",
        str(change.path) if change.after is not None else "(no file)",
        lineterm="",
    )
    return "\n".join(_short(line, secrets) for line in lines)


def write(change: Change) -> Path | None:
    """Make the change at once or not at all; the backup that was written, if one was.

    The file keeps its rights, and a link stays a link. Raises KlingError.
    """
    real = change.path.resolve()
    backup: Path | None = None
    try:
        if _read(change.path) != change.before:
            raise KlingError(f"{change.path} has changed meanwhile; nothing was written.")
        real.parent.mkdir(parents=True, exist_ok=True)
        if change.before is not None and not change.keeps_backup:
            backup = change.backup
            shutil.copy2(real, backup)
        if change.after is None:
            real.unlink()
        else:
            _replace(real, change.after, exists=change.before is not None)
        if change.backup_goes:
            change.backup.unlink(missing_ok=True)
    except OSError as error:
        raise KlingError(
            f"{change.path} cannot be written: {error.strerror or error}.",
            advice="Add the entry by hand: --print shows it.",
        ) from error
    return backup


def _replace(real: Path, text: str, *, exists: bool) -> None:
    handle, name = tempfile.mkstemp(dir=real.parent, prefix=f".{real.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(text.encode("utf-8"))
            file.flush()
            os.fsync(file.fileno())
        if exists:
            shutil.copymode(real, name)
        Path(name).replace(real)
    except BaseException:
        with suppress(OSError):
            Path(name).unlink()
        raise


def _read(path: Path) -> str | None:
    """The text with its line ends and its mark; None when there is no file."""
    try:
        return path.read_bytes().decode("utf-8")
    except FileNotFoundError:
        return None
    except UnicodeDecodeError as error:
        raise KlingError(f"{path} is not UTF-8 text; nothing was changed.") from error
    except OSError as error:
        raise KlingError(f"{path} cannot be read: {error.strerror or error}.") from error


def _same_again(form: Format, older: str, now: Sequence[Edit], text: str) -> bool:
    """Whether putting the edits into the older text gives this one."""
    try:
        return _put_all(form, older, now) == text
    except NotEditable:
        return False


def _put_all(form: Format, text: str, edits: Sequence[Edit]) -> str:
    mark = MARK if text.startswith(MARK) else ""
    text = text.removeprefix(MARK)
    for edit in edits:
        text = form.put(text, edit)
    return mark + text


def _check(form: Format, before: str, after: str, edits: Sequence[Edit], *, gone: bool) -> None:
    """Read both texts, and refuse when anything differs but what was to change."""
    for edit in edits:
        found = _found(form, after, edit)
        if (found is not None) if gone else (found != edit.value):
            raise NotEditable("the entry would not read as it was meant")
    if _others(form, before, edits) != _others(form, after, edits):
        raise NotEditable("something else would change with it")


def _others(form: Format, text: str, edits: Sequence[Edit]) -> object:
    """What a text says without our entries, and without what holds nothing else."""
    said = dict(form.read(text.removeprefix(MARK)))
    for edit in edits:
        said = _bare(said, edit.path, edit)
    return said


def _bare(said: dict[str, object], path: tuple[str, ...], edit: Edit) -> dict[str, object]:
    key, *rest = path
    inner = said.get(key)
    others = {name: value for name, value in said.items() if name != key}
    if rest and isinstance(inner, dict):
        inner = _bare(inner, tuple(rest), edit)
        return {**others, key: inner} if inner else others
    if isinstance(edit, ListItem) and isinstance(inner, list):
        items = [item for item in inner if not _is(item, edit)]
        return {**others, key: items} if items else others
    return others if not rest or inner is None else said


def _is(item: object, edit: ListItem) -> bool:
    return isinstance(item, dict) and item.get("id") == edit.value["id"]


def _found(form: Format, text: str, edit: Edit) -> object:
    """The value that stands where an edit puts it; None when there is none."""
    node: object = form.read(text.removeprefix(MARK))
    for key in edit.path:
        if not isinstance(node, dict) or key not in node:
            return None
        node = node[key]
    if isinstance(edit, Put):
        return node
    items = node if isinstance(node, list) else []
    return next((item for item in items if _is(item, edit)), None)


def _as_it_is(form: Format, text: str, edit: Edit) -> Edit:
    """The edit with the value that stands in the text."""
    value = _found(form, text, edit)
    if not isinstance(value, dict):
        raise NotEditable(f"{'.'.join(edit.path)} is not what was put there")
    return type(edit)(edit.path, value)


def _short(line: str, secrets: Collection[str]) -> str:
    for secret in secrets:
        line = line.replace(secret, "********")
    return line if len(line) <= LINE_SHOWN else line[: LINE_SHOWN - 1] + "…"


def _refused(path: Path, error: NotEditable) -> KlingError:
    return KlingError(
        f"{path} cannot be changed safely ({error}); it was left as it is.",
        advice="Mend it, or add the entry by hand: --print shows it.",
    )
