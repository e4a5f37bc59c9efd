"""Opening all pictures of a request at once, and telling all that is wrong with them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

from kling_mcp.body import SourceChanged
from kling_mcp.images.conversion import Converted, convert
from kling_mcp.images.file_type import HEAD_BYTES, FileType, detect, named_like
from kling_mcp.images.form import Given, Kind, recognise
from kling_mcp.images.header import read_header
from kling_mcp.images.held import HeldFile
from kling_mcp.images.picture import Picture
from kling_mcp.images.policy import PicturePolicy
from kling_mcp.images.refusal import SOURCE, Refusal
from kling_mcp.images.rules import Facts, judge, role_of
from kling_mcp.images.task_picture import TaskPicture, take_pictures
from kling_mcp.images.url import PictureUrl
from kling_mcp.images.whole import is_whole
from kling_tools.faults import Fault, Verdict

__all__ = ["look_at_picture", "open_pictures"]

T = TypeVar("T")

WHOLE_FILE = "a whole copy, one that opens in an image viewer"
WHOLE_BASE64 = "the whole base64 as it was made (each + must stay one), or a path or URL instead"

_OPENER = ""
"""The name under which the files are held while they are being looked at."""


async def open_pictures(
    wishes: Sequence[tuple[str, str]], policy: PicturePolicy
) -> tuple[list[Picture | None], Verdict]:
    """Every wish, a pair of field and value, as an open `Picture`, or None when it has faults.

    Nothing is raised for a bad picture: the verdict holds every fault of every one, and warnings
    about doubtful names and conversions. A value that is given twice is opened once. The work is
    done in a thread. Close every picture when it has been sent, also when others have faults.
    """
    taken = await take_pictures([value for _, value in wishes], policy.of_tasks)
    return await policy.decoding.run(partial(_open_all, tuple(wishes), policy, taken))


async def look_at_picture(
    value: str, policy: PicturePolicy, look: Callable[[HeldFile, FileType], T]
) -> T | None:
    """What `look` finds in a picture of any type, in a thread; None for one that Kling fetches.
    Raises Refusal, KlingError, and whatever `look` does."""
    taken = await take_pictures([value], policy.of_tasks)

    def looked() -> T | None:
        with ExitStack() as looked_at:
            opened = _Desk(policy, taken, looked_at).file(value)
            return None if isinstance(opened, PictureUrl) else look(opened[1], opened[2])

    return await policy.decoding.run(looked)


def _open_all(
    wishes: Sequence[tuple[str, str]],
    policy: PicturePolicy,
    taken: Mapping[str, TaskPicture | Refusal],
) -> tuple[list[Picture | None], Verdict]:
    verdict = Verdict()
    pictures: list[Picture | None] = []
    with ExitStack() as looked_at, ExitStack() as undo:
        desk = _Desk(policy, taken, looked_at)
        for field, value in wishes:
            try:
                picture, warnings = desk.picture(field, value)
            except _Refused as refused:
                verdict.faults.extend(refused.faults)
                pictures.append(None)
                continue
            undo.callback(picture.close)
            pictures.append(picture)
            verdict.warnings.extend(warnings)
        undo.pop_all()
    return pictures, verdict


class _Refused(Exception):
    def __init__(self, faults: Sequence[Fault]) -> None:
        super().__init__("picture refused")
        self.faults = faults


@dataclass(slots=True)
class _Found:
    kind: Kind
    held: HeldFile
    facts: Facts
    sha256: str = ""


class _Desk:
    """What has been opened for one request, so that the same value is opened only once."""

    def __init__(
        self,
        policy: PicturePolicy,
        taken: Mapping[str, TaskPicture | Refusal],
        looked_at: ExitStack,
    ) -> None:
        self._policy = policy
        self._taken = taken
        self._looked_at = looked_at
        self._found: dict[str, PictureUrl | _Found | Refusal] = {}
        self._converted: dict[tuple[str, bool], Converted] = {}

    def picture(self, field: str, value: str) -> tuple[Picture, list[Fault]]:
        """The picture for a field and the warnings about it; raises `_Refused`."""
        try:
            found = self._find(value)
            if isinstance(found, PictureUrl):
                return _from_url(field, found)
            return self._from_bytes(field, value, found)
        except Refusal as refusal:
            raise _Refused([refusal.fault(field)]) from refusal
        except SourceChanged as changed:
            again = "the picture again when it is finished"
            raise _Refused([Fault(field, "image_changed", f"{changed}.", again)]) from changed
        except OSError as error:
            reason = error.strerror or type(error).__name__
            message = f"the picture cannot be read or kept on this machine ({reason})."
            raise _Refused([Fault(field, "image_not_kept", message)]) from error

    def _find(self, value: str) -> PictureUrl | _Found:
        if value not in self._found:
            try:
                self._found[value] = self._look(value)
            except Refusal as refusal:
                self._found[value] = refusal
        found = self._found[value]
        if isinstance(found, Refusal):
            raise found
        return found

    def file(self, value: str) -> PictureUrl | tuple[Given, HeldFile, FileType]:
        """The picture's file and its type; raises Refusal and `SourceChanged`."""
        given = self._from_task(value) or recognise(value, self._policy)
        if isinstance(given.content, PictureUrl):
            return given.content
        held = self._keep(given.content)
        return given, held, detect(held.head(HEAD_BYTES))

    def _look(self, value: str) -> PictureUrl | _Found:
        opened = self.file(value)
        if isinstance(opened, PictureUrl):
            return opened
        given, held, file_type = opened
        facts = Facts(held.label, file_type, held.size, read_header(held, file_type))
        return _Found(given.kind, held, facts, given.sha256)

    def _from_task(self, value: str) -> Given | None:
        taken = self._taken.get(value)
        if isinstance(taken, Refusal):
            raise taken
        if taken is None:
            return None
        return Given(taken.kind, taken.held(), taken.sha256)

    def _keep(self, held: HeldFile) -> HeldFile:
        self._looked_at.callback(held.let_go, _OPENER)
        return held.hold(_OPENER)

    def _from_bytes(self, field: str, value: str, found: _Found) -> tuple[Picture, list[Fault]]:
        role = role_of(field)
        fix = self._policy.fix or found.kind == "task"  # nobody else could convert a frame
        faults = judge(field, found.facts, fix=fix)
        held, facts, told = found.held, found.facts, ""
        if faults and fix and all(fault.rule in role.fixable for fault in faults):
            key = (value, role.mask)
            if key not in self._converted:
                converted = convert(found.held, found.facts, role, self._policy.decoding)
                self._keep(converted.held)
                self._converted[key] = converted
            converted = self._converted[key]
            held, facts, told = converted.held, converted.facts, converted.told
            faults = judge(field, facts, fix=fix)
        if faults:
            raise _Refused(faults)
        self._check(found, decoded=bool(told))
        header = facts.header
        picture = Picture(
            field,
            found.kind,
            facts.label,
            found.sha256,
            width=header.width if header else None,
            height=header.height if header else None,
            format=facts.file_type.name,
            size_bytes=facts.size_bytes,
            converted=told,
            turned=header.turned if header else False,
            held=held.hold(field),
        )
        return picture, [*_warnings(field, found, told)]

    def _check(self, found: _Found, *, decoded: bool) -> None:
        """Read all of it, once; a frame of a task was made here, and has its hash already."""
        if found.sha256:
            return
        file_type = found.facts.file_type
        known = decoded and not file_type.accepted  # the conversion would have found it out
        if not known and not is_whole(found.held, file_type, self._policy.decoding):
            raise Refusal(
                "image_damaged",
                f"{found.facts.label} is damaged or cut short: a part of it is missing or altered.",
                WHOLE_BASE64 if found.kind in ("data", "base64") else WHOLE_FILE,
            )
        found.sha256 = found.held.digest()


def _from_url(field: str, url: PictureUrl) -> tuple[Picture, list[Fault]]:
    sha256 = hashlib.sha256(url.text.encode()).hexdigest()
    warnings = [replace(warning, field=field) for warning in url.warnings]
    return Picture(field, "url", url.label, sha256, url=url.text), warnings


def _warnings(field: str, found: _Found, told: str) -> list[Fault]:
    warnings = []
    facts = found.facts
    claimed = named_like(facts.label) if found.kind == "file" else None
    if told:
        warnings.append(Fault(field, "image_converted", told))
    elif claimed not in (None, facts.file_type):
        message = f"{facts.label} is {facts.file_type.said} in spite of its name; it is sent as is."
        warnings.append(Fault(field, "image_suffix", message, source=SOURCE))
    return warnings
