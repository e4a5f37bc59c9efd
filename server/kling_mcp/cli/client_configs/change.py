"""The change of one configuration file: planned, shown, written, undone.

A changed file's previous text is kept beside it as `NAME.before-kling-mcp`. While that backup plus
the entry equals the present file, uninstalling restores the backup byte for byte.
"""

from __future__ import annotations

import difflib
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from kling_mcp.cli.client_configs.entries import without_secrets
from kling_mcp.cli.client_configs.jsonc import JSONC, Edit, ListItem, NotEditable, Put
from kling_tools.errors import KlingError
from kling_tools.quoting import clipped

__all__ = ["Change", "entry_in", "plan_install", "plan_uninstall", "shown", "write"]

MARK = "\ufeff"
LINE_SHOWN = 160
"""Most characters shown of a line."""


@dataclass(frozen=True, slots=True)
class Change:
    """A file's text before and after; None when the file does not exist. `keeps_backup`: the
    present backup stays as it is; `backup_goes`: the backup is removed."""

    path: Path
    before: str | None
    after: str | None
    keeps_backup: bool = False
    backup_goes: bool = False

    @property
    def backup(self) -> Path:
        """The path of the backup: beside the real file, also when `path` is a symlink."""
        real = self.path.resolve()
        return real.with_name(real.name + ".before-kling-mcp")


def entry_in(path: Path, place: tuple[str, ...]) -> object:
    """The value at a path of keys in the file; None when it is missing. Raises KlingError when the
    file cannot be read."""
    try:
        return _found(_read(path) or "", Put(place, {}))
    except NotEditable as error:
        raise _refused(path, error) from error


def plan_install(path: Path, edits: Sequence[Edit], *, again: bool = False) -> Change:
    """The change that puts the edits into the file; `again` when the file already has the entry.
    Raises KlingError when the change cannot be made."""
    before = _read(path)
    try:
        after = _put_all(before or "", edits)
        _check(before or "", after, edits, gone=False)
    except NotEditable as error:
        raise _refused(path, error) from error
    older_is_kept = again and Change(path, before, after).backup.exists()
    return Change(path, before, after, keeps_backup=older_is_kept)


def plan_uninstall(
    path: Path, own: Sequence[Edit], holds_secrets: Callable[[object], bool]
) -> Change:
    """The change that removes our edits. `own` lists their paths and ids, the entry last; values
    are ignored. No backup with a secret in our entry stays beside the file.

    Raises KlingError when the file cannot be read.
    """
    before = _read(path)
    if before is None:
        return Change(path, None, None)
    try:
        now = [edit for edit in own if _found(before, edit) is not None]
        now = [_as_it_is(before, edit) for edit in now]
        older = _read(Change(path, before, before).backup)
        in_older = _found(older or "", own[-1]) if _is_readable(older) else None
        if now and in_older is None and _same_again(older or "", now, before):
            return Change(path, before, older, keeps_backup=True, backup_goes=True)
        mark = MARK if before.startswith(MARK) else ""
        after = before.removeprefix(MARK)
        for edit in now:
            after = JSONC.take(after, edit)
        _check(before, after, now, gone=True)
    except NotEditable as error:
        raise _refused(path, error) from error
    secret = any(holds_secrets(edit.value) for edit in now)
    return Change(
        path,
        before,
        mark + after,
        keeps_backup=secret,
        backup_goes=bool(now) and holds_secrets(in_older),
    )


def shown(change: Change) -> str:
    """The changed lines as a unified diff, with secrets masked; empty when nothing changes."""
    lines = difflib.unified_diff(
        without_secrets(change.before or "").splitlines(),
        without_secrets(change.after or "", change.before or "").splitlines(),
        str(change.path) if change.before is not None else "(no file)",
        str(change.path) if change.after is not None else "(no file)",
        lineterm="",
        n=0,
    )
    return "\n".join(map(_short, lines))


def write(change: Change) -> Path | None:
    """Make the change atomically. Returns the path of a new backup, or None.

    The file keeps its permissions, and a symlink stays a symlink. Raises KlingError.
    """
    real = change.path.resolve()
    backup: Path | None = None
    try:
        if _read(change.path) != change.before:
            raise KlingError(
                f"Another program changed {change.path} meanwhile; nothing was written.",
                advice="Run the command again.",
            )
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
    """The text with its line ends and byte order mark; None when the file does not exist."""
    try:
        return path.read_bytes().decode("utf-8")
    except FileNotFoundError:
        return None
    except UnicodeDecodeError as error:
        raise KlingError(f"{path} is not UTF-8 text; nothing was changed.") from error
    except OSError as error:
        raise KlingError(f"{path} cannot be read: {error.strerror or error}.") from error


def _is_readable(text: str | None) -> bool:
    try:
        return bool(JSONC.read((text or "").removeprefix(MARK)))
    except NotEditable:
        return False


def _same_again(older: str, now: Sequence[Edit], text: str) -> bool:
    """Whether the older text plus the edits equals this text."""
    try:
        return _put_all(older, now) == text
    except NotEditable:
        return False


def _put_all(text: str, edits: Sequence[Edit]) -> str:
    mark = MARK if text.startswith(MARK) else ""
    text = text.removeprefix(MARK)
    for edit in edits:
        text = JSONC.put(text, edit)
    return mark + text


def _check(before: str, after: str, edits: Sequence[Edit], *, gone: bool) -> None:
    """Read both texts. Raises NotEditable when anything else than the edits differs."""
    for edit in edits:
        found = _found(after, edit)
        if (found is not None) if gone else (found != edit.value):
            raise NotEditable("the entry would not read as it was meant")
    if _others(before, edits) != _others(after, edits):
        raise NotEditable("something else would change with it")


def _others(text: str, edits: Sequence[Edit]) -> object:
    """The content of a text without our entries, and without objects that held only them."""
    said = dict(JSONC.read(text.removeprefix(MARK)))
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


def _found(text: str, edit: Edit) -> object:
    """The value at an edit's place; None when it is missing."""
    node: object = JSONC.read(text.removeprefix(MARK))
    for key in edit.path:
        if not isinstance(node, dict) or key not in node:
            return None
        node = node[key]
    if isinstance(edit, Put):
        return node
    items = node if isinstance(node, list) else []
    return next((item for item in items if _is(item, edit)), None)


def _as_it_is(text: str, edit: Edit) -> Edit:
    """The edit with the value that the text has there."""
    value = _found(text, edit)
    if not isinstance(value, dict):
        raise NotEditable(f"{'.'.join(edit.path)} is not what was put there")
    return type(edit)(edit.path, value)


def _short(line: str) -> str:
    return clipped(line, LINE_SHOWN)


def _refused(path: Path, error: NotEditable) -> KlingError:
    return KlingError(
        f"{path} cannot be changed safely ({error}); it was left as it is.",
        advice="Correct the file, or add the entry by hand: --print shows it.",
    )
