"""Opens and checks all pictures of a request together, brush masks against their picture too."""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from kling_mcp.inputs.conversion import Converted, Fit, convert
from kling_mcp.inputs.decoding import Decoding, shrink
from kling_mcp.inputs.file_type import (
    HEAD_BYTES,
    FileType,
    detect,
    is_whole,
    named_like,
    read_header,
)
from kling_mcp.inputs.held import HeldFile, SourceChanged
from kling_mcp.inputs.picture import Given, Kind, Picture, is_url, recognise
from kling_mcp.inputs.picture_rules import A_FRAME, Facts, Role, judge, role_of
from kling_mcp.inputs.policy import PicturePolicy, TaskPicture, take_pictures
from kling_mcp.inputs.refusal import SOURCE, Refusal
from kling_mcp.inputs.urls import PictureUrl
from kling_tools.errors import ImageRejected
from kling_tools.faults import Fault, Verdict

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = [
    "check_end_shape",
    "check_mask_sizes",
    "likeness",
    "look_at_picture",
    "open_pictures",
    "thumbnail",
]


TOLERANCE = 0.01
"""How far the ratios of image and mask may differ, as the sides of a small mask are rounded."""


def check_mask_sizes(
    image: Picture | None, static_mask: Picture | None, dynamic: Sequence[Picture | None]
) -> Verdict:
    """The faults of masks that differ in pixels or format, or in their ratio from the image.

    Kling fails a task whose masks differ in resolution from each other or in ratio from the image
    [Kling image2video page]. Pictures by URL pass, as their size is unknown.
    """
    verdict = Verdict()
    masks = [mask for mask in (static_mask, *dynamic) if mask is not None and mask.width]
    for mask in masks[1:]:
        verdict.faults.extend(_against_first(mask, masks[0]))
    if image is not None and image.width:
        verdict.faults.extend(
            Fault(
                mask.field,
                "mask_ratio",
                f"the mask is {_size(mask)} and {image.field} {_size(image)}; "
                "their ratios must be the same.",
                f"a mask of {_size(image)}",
                SOURCE,
            )
            for mask in masks
            if not _same_ratio(mask, image)
        )
    return verdict


def _against_first(mask: Picture, first: Picture) -> list[Fault]:
    faults = []
    if (mask.width, mask.height) != (first.width, first.height):
        message = f"the mask is {_size(mask)}, {first.field} is {_size(first)}; all must be alike."
        faults.append(Fault(mask.field, "mask_size", message, f"a mask of {_size(first)}", SOURCE))
    if mask.format != first.format:
        message = f"the mask is a {mask.format}, {first.field} a {first.format}; all must be alike."
        faults.append(Fault(mask.field, "mask_format", message, f"a {first.format} mask", SOURCE))
    return faults


def _same_ratio(mask: Picture, image: Picture) -> bool:
    """Whether the mask fits the image as it is stored, or as EXIF turns it for viewers."""
    ratio = _ratio(mask) / _ratio(image)
    if abs(ratio - 1) <= TOLERANCE:
        return True
    return image.turned and abs(_ratio(mask) * _ratio(image) - 1) <= TOLERANCE


def _ratio(picture: Picture) -> float:
    return (picture.width or 1) / (picture.height or 1)


def _size(picture: Picture) -> str:
    return f"{picture.width}x{picture.height} px"


END_SHAPE = 0.05
"""How far the ratios of first and last frame may differ without a part that is lost."""


def check_end_shape(image: Picture | None, tail: Picture | None) -> Verdict:
    """A warning when the last frame has another shape than the first, which gives the video its
    own. Pictures by URL pass, as their size is unknown."""
    verdict = Verdict()
    if image is None or tail is None or not (image.width and tail.width):
        return verdict
    if abs(_ratio(tail) / _ratio(image) - 1) > END_SHAPE:
        wide = (image.width or 0) > (image.height or 0)
        verdict.warnings.append(
            Fault(
                tail.field,
                "end_shape",
                f"{tail.field} is {_size(tail)} and {image.field} {_size(image)}: the video has "
                f"the shape of {image.field}, so {tail.field} is cropped, padded or stretched.",
                f'fit "{"16:9" if wide else "9:16"}", which gives both one shape here, or a '
                f"{tail.field} of the shape of {image.field}",
            )
        )
    return verdict


T = TypeVar("T")

WHOLE_FILE = "a whole copy, one that opens in an image viewer"
WHOLE_BASE64 = "the whole base64 as it was made (each + must stay one), or a path or URL instead"

_OPENER = ""
"""The name that holds the files while they are checked."""


async def open_pictures(
    wishes: Sequence[tuple[str, str]], policy: PicturePolicy, fit: str = ""
) -> tuple[list[Picture | None], Verdict]:
    """An open `Picture` for every pair of field and value, or None for a picture with faults. The
    first and the last frame are cropped or padded to the `fit`, such as "9:16" or "9:16 pad".

    A bad picture raises nothing: the verdict holds all faults of all pictures, and warnings about
    doubtful names. A value that is given twice is opened once. The work is done in a thread. Close
    every picture after it was sent, also if others have faults.
    """
    taken = await take_pictures([value for _, value in wishes], policy.of_tasks)
    opened = partial(_open_all, tuple(wishes), policy, taken, Fit.of(fit))
    if all(is_url(value) for _, value in wishes):
        return opened()  # nothing is read, so that nobody's picture is waited for
    pictures, verdict = await policy.decoding.run(opened)
    given = dict(wishes)
    verdict.faults[:] = [
        await _of_our_video(fault, given.get(fault.field, ""), policy) for fault in verdict.faults
    ]
    return pictures, verdict


async def _of_our_video(fault: Fault, value: str, policy: PicturePolicy) -> Fault:
    """The fault; about a video that was saved here, with the address of its last frame."""
    if fault.use != A_FRAME or policy.task_of is None:
        return fault
    task_id = await policy.task_of(value)
    return replace(fault, use=A_FRAME.replace("ID", task_id)) if task_id else fault


class PictureChanged(Exception):
    """Other bytes than those of the request are in the file now."""


async def look_at_picture(
    value: str, policy: PicturePolicy, look: Callable[[HeldFile, FileType], T]
) -> T | None:
    """The result of `look` for a picture of any type, called in a thread; None for a picture that
    Kling fetches. Raises Refusal, KlingError, and the errors of `look`."""
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
    fit: Fit | None,
) -> tuple[list[Picture | None], Verdict]:
    verdict = Verdict()
    pictures: list[Picture | None] = []
    with ExitStack() as looked_at, ExitStack() as undo:
        desk = _Desk(policy, taken, looked_at, fit)
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
    """The pictures that one request has opened; it opens the same value only once."""

    def __init__(
        self,
        policy: PicturePolicy,
        taken: Mapping[str, TaskPicture | Refusal],
        looked_at: ExitStack,
        fit: Fit | None = None,
    ) -> None:
        self._policy = policy
        self._taken = taken
        self._looked_at = looked_at
        self._fit = fit
        self._found: dict[str, PictureUrl | _Found | Refusal] = {}
        self._converted: dict[tuple[str, bool, Fit | None], Converted | None] = {}

    def picture(self, field: str, value: str) -> tuple[Picture, list[Fault]]:
        """The picture for a field, and the warnings about it; raises `_Refused`."""
        try:
            found = self._find(value)
            if isinstance(found, PictureUrl):
                if self._fit and role_of(field).frame:
                    raise _Refused([_not_fitted(field)])
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
        fit = self._fit if role.frame else None
        fix = self._policy.fix or found.kind == "task"  # nobody else could convert a frame
        faults = judge(
            field, found.facts, fix=fix, fitted=fit is not None, bytes_max=self._policy.bytes_max
        )
        held, facts, converted = found.held, found.facts, None
        uneven = fix and not role.mask and facts.header is not None and facts.header.uneven
        if faults:
            mended = all(role.can_mend(fault, facts) for fault in faults)
            if not ((fix or fit) and mended):
                raise _Refused(faults)
        if faults or fit or uneven:
            converted = self._convert(value, found, role, fit, required=bool(faults))
        if converted is not None:
            held, facts = converted.held, converted.facts
            if faults := judge(field, facts, fix=fix, fitted=fit is not None):
                raise _Refused(faults)
        self._check(found, decoded=converted is not None)
        header = facts.header
        fitted = fit is not None and converted is not None and converted.fitted
        picture = Picture(
            field,
            found.kind,
            facts.label,
            _fitted_hash(found.sha256, fit) if fit and fitted else found.sha256,
            width=header.width if header else None,
            height=header.height if header else None,
            format=facts.file_type.name,
            size_bytes=facts.size_bytes,
            converted=converted.told if converted else "",
            turned=header.turned if header else False,
            held=held.hold(field),
            bytes_sha256="" if found.kind in MADE_HERE else found.sha256,
        )
        if converted is None:
            return picture, [*_warnings(field, found)]
        little = converted.kept < LITTLE_LEFT
        return picture, [_cropped(field, fit, converted.kept)] if fit and little else []

    def _convert(
        self, value: str, found: _Found, role: Role, fit: Fit | None, *, required: bool
    ) -> Converted | None:
        """The converted picture, once for each use of a value. None for one that may be sent as it
        is and cannot be converted, or has no need of it."""
        key = (value, role.mask, fit)
        if key not in self._converted:
            try:
                converted = convert(
                    found.held, found.facts, role, self._policy.decoding, fit, required=required
                )
            except Refusal:
                if required or fit:
                    raise
                converted = None
            if converted is not None:
                self._keep(converted.held)
            self._converted[key] = converted
        return self._converted[key]

    def _check(self, found: _Found, *, decoded: bool) -> None:
        """Read the whole picture, once. A frame of a task has its hash already, as it was made
        here."""
        if found.sha256:
            return
        file_type = found.facts.file_type
        sha256 = found.held.digest()
        known = decoded and not file_type.accepted  # the conversion would have found it out
        known = known or self._policy.decoding.knows_whole(sha256)
        if not known and not is_whole(found.held, file_type, self._policy.decoding):
            raise Refusal(
                "image_damaged",
                f"{found.facts.label} is damaged or cut short: a part of it is missing or altered.",
                WHOLE_BASE64 if found.kind in ("data", "base64") else WHOLE_FILE,
            )
        self._policy.decoding.found_whole(sha256)
        found.sha256 = sha256


def _from_url(field: str, url: PictureUrl) -> tuple[Picture, list[Fault]]:
    sha256 = hashlib.sha256(url.text.encode()).hexdigest()
    warnings = [replace(warning, field=field) for warning in url.warnings]
    return Picture(field, "url", url.label, sha256, url=url.text), warnings


def _not_fitted(field: str) -> Fault:
    return Fault(
        "fit",
        "fit_of_a_url",
        f"Kling fetches {field} from its URL itself, so it cannot be cropped here.",
        f"a path or a data: URI as {field}, or leave fit out",
    )


LITTLE_LEFT = 0.5
"""The part of a picture below which a crop is warned of."""


def _cropped(field: str, fit: Fit, kept: float) -> Fault:
    message = f"the crop to {fit.words} keeps {kept:.0%} of {field}."
    return Fault("fit", "crop_keeps_little", message, f'"{fit.words} pad" to keep all of it')


def _fitted_hash(sha256: str, fit: Fit) -> str:
    """What stands for the picture in the digest of the request: another crop is another video."""
    return hashlib.sha256(f"{sha256} {fit.words}".encode()).hexdigest()


def _warnings(field: str, found: _Found) -> Iterator[Fault]:
    facts = found.facts
    claimed = named_like(facts.label) if found.kind == "file" else None
    if claimed not in (None, facts.file_type):
        message = f"{facts.label} is {facts.file_type.said} in spite of its name; it is sent as is."
        yield Fault(field, "image_suffix", message, source=SOURCE)


MADE_HERE = ("task", "upload")
"""Kinds of pictures whose address always stands for the same picture."""

LIKENESS_SIDE = 1200
"""Longer side in px of a picture that is held against a frame."""


async def likeness(field: str, value: str, policy: PicturePolicy, sha256: str = "") -> Image | None:
    """The picture upright and not large; None for one that Kling fetches itself. Raises
    ImageRejected, and PictureChanged when its bytes are not those of the hash."""
    try:
        return await look_at_picture(value, policy, partial(_likeness, policy.decoding, sha256))
    except Refusal as refusal:
        raise ImageRejected([refusal.fault(field)]) from refusal
    except _Refused as refused:
        named = [replace(fault, field=field) for fault in refused.faults]
        raise ImageRejected([await _of_our_video(f, value, policy) for f in named]) from refused
    except (OSError, ValueError, SyntaxError, SourceChanged) as error:
        fault = Fault(field, "image_damaged", "the picture cannot be read.", WHOLE_FILE)
        raise ImageRejected([fault]) from error


def _likeness(decoding: Decoding, sha256: str, held: HeldFile, file_type: FileType) -> Image | None:
    if sha256 and held.digest() != sha256:
        raise PictureChanged
    if not file_type.is_picture:
        role = Facts(held.label, file_type, held.size, None)
        raise _Refused(judge("", role, fix=True))
    opener = file_type.opener()
    if opener is None or read_header(held, file_type) is None:
        return None
    return shrink(opener(held.view()), LIKENESS_SIDE, decoding).convert("RGB")


THUMBNAIL_SIDE = 160
"""Longer side in px: twice what the player shows, for dense screens."""

THUMBNAIL_QUALITY = 70

THUMBNAIL_BYTES_MAX = 128 * 1024 * 1024
"""The most memory for a thumbnail: enough for a PNG of 33 megapixels, a progressive JPEG of 16, and
any other JPEG."""


async def thumbnail(wishes: Sequence[tuple[str, str]], policy: PicturePolicy) -> str:
    """The first of the pictures (field and value) as a `data:` URI of some kilobytes; empty for a
    URL, which is not fetched, and without pictures. Raises Refusal and KlingError."""
    if not wishes:
        return ""

    def small(held: HeldFile, file_type: FileType) -> str:
        return _small(held, file_type, policy.decoding)

    return await look_at_picture(wishes[0][1], policy, small) or ""


def _small(held: HeldFile, file_type: FileType, decoding: Decoding) -> str:
    opener = file_type.opener()
    if opener is None or read_header(held, file_type) is None:
        return ""
    small = shrink(opener(held.view()), THUMBNAIL_SIDE, decoding, THUMBNAIL_BYTES_MAX)
    file = io.BytesIO()
    small.convert("RGB").save(file, "JPEG", quality=THUMBNAIL_QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"
