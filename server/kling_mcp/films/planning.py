"""What a film will cost and take before anything is sent: each shot judged like a dry run."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from fractions import Fraction
from itertools import pairwise
from typing import Any

from kling_mcp.films.existing import ExistingClips
from kling_mcp.films.shapes import ratio_of_words, shape_of_picture, stand_in
from kling_mcp.inputs.policy import PicturePolicy
from kling_mcp.ledger import NewRow, Record
from kling_mcp.ledger.films import Agreed, FilmRow, ShotRow, digest_of
from kling_mcp.ledger.records import ShotOf, account_at
from kling_mcp.principal import Principal
from kling_mcp.providers.client import KlingClient
from kling_mcp.submission.judged_request import JudgedRequest
from kling_mcp.submission.new_videos import VideoCreate
from kling_mcp.submission.provider_choice import pinned
from kling_mcp.submission.submission import Judged, Submission
from kling_tools.errors import (
    ImageRejected,
    InvalidRequest,
    KlingError,
    SpendCapReached,
)
from kling_tools.faults import Fault, Variant
from kling_tools.quoting import listed_shots
from kling_tools.requests.arguments import SubmitArguments
from kling_tools.requests.drafts import Draft
from kling_tools.requests.films import (
    IMAGES,
    FilmArguments,
    continues,
    shape_of,
    shot_draft,
    shot_faults,
    video_faults,
)
from kling_tools.results import ENDED, Receipt
from kling_tools.rules.capabilities import Estimate, units_text
from kling_tools.rules.variants import ROUNDING, find_cheapest

__all__ = ["GO_ON", "PlannedShot", "ShotCreate", "frame_of", "planned", "warned"]

GO_ON = "Call kling_film with the same name and shots: it names the price of now, and goes on."


class ShotCreate(VideoCreate):
    """A shot on the way of a create. It is the `shot_of` a film, whose caps hold for its row, too;
    sent it is as it was `agreed` to, and no otherwise. None for both where it is only judged."""

    def __init__(
        self,
        way: Submission,
        principal: Principal,
        policy: PicturePolicy,
        draft: Draft[SubmitArguments],
        shot_of: ShotOf | None = None,
        agreed: Agreed | None = None,
    ) -> None:
        if agreed:
            draft = pinned(draft, agreed.provider, agreed.model_name)
        super().__init__(way, principal, policy, draft)
        self._shot_of, self._agreed = shot_of, agreed
        self.record: Record | None = None

    @property
    def request(self) -> JudgedRequest:
        """The request, once it is judged."""
        return self._request

    async def judge(self, opened: AsyncExitStack) -> Judged:
        """As a video; its row names the film. Raises KlingError where it is not what was agreed
        to."""
        judged = await super().judge(opened)
        sent = judged.made is not None and not judged.made.is_unanswered
        if self._agreed and not sent and not judged.verdict.faults:
            self._hold(self._agreed, judged)
        return self._of_film(judged)

    async def prepare(self, judged: Judged, client: KlingClient) -> Judged:
        """As a video; its row names the film, also where it is another one now."""
        return self._of_film(await super().prepare(judged, client))

    def _of_film(self, judged: Judged) -> Judged:
        return replace(judged, new_row=replace(judged.new_row, shot_of=self._shot_of))

    @staticmethod
    def _hold(agreed: Agreed, judged: Judged) -> None:
        """Raises KlingError where a request is not what was agreed to."""
        row, price, reason = judged.new_row, judged.price, ""
        most = math.inf if agreed.units is None else agreed.units + ROUNDING
        units = math.inf if price.units is None else price.units
        if account_at(row.base_url) != account_at(agreed.base_url):
            reason = f"{agreed.provider} is at another address now"
        elif row.sandbox != agreed.sandbox:
            reason = "it was agreed to at a sandbox, and would be charged now"
            if row.sandbox:
                reason = "it was agreed to at its provider, and a sandbox is in its place now"
        elif row.model_name != agreed.model_name:
            reason = f"it would be made with {row.model_name} and not with {agreed.model_name}"
        elif agreed.digest and row.picture_hashes != agreed.pictures:
            reason = "its picture has changed since"
        elif agreed.digest and row.digest != agreed.digest:
            reason = "it would be sent with other fields now"
        elif judged.made is None and units > most:
            reason = f"it costs {price} now and not {units_text(agreed.units or 0.0)}"
        if reason:
            raise KlingError(f"It is not made as it was agreed to: {reason}.", advice=GO_ON)

    async def receipt(self, record: Record, *, new: bool) -> Receipt:
        """The receipt; the row is kept."""
        self.record = record
        return await super().receipt(record, new=new)

    async def explain(
        self,
        error: KlingError,
        within_units: float | None = None,
    ) -> None:
        """What is cheaper is said for the film as a whole."""
        if not isinstance(error, SpendCapReached):
            await super().explain(error, within_units)

    def variant(self, within_units: float) -> Variant | None:
        """The nearest request that costs no more."""
        return self._request.variant(within_units)

    async def most(self) -> float:
        """The units that it may cost by the caps of one video and of a day."""
        most = await self._limit()
        return math.inf if most is None else most

    def cheapest(self) -> float | None:
        """The units of the cheapest request with this wish."""
        request = self._request
        found = find_cheapest(request.draft, request.capabilities, request.terms)
        return found.estimate.units if found else None


@dataclass(kw_only=True)
class PlannedShot:
    """A shot as it was judged: the `made` row of its very request, None where it has to be made.
    It is `capped` where it costs more than the `most` units that one video may. It
    `waits` for the frame of the shot before it, which is not there yet. It is the `same_as` an
    earlier shot where that has its number, and else has its own. `shape` is the width of its clip
    by the height, None where that is not known."""

    number: int
    request: dict[str, Any]
    create: ShotCreate | None = None
    new_row: NewRow | None = None
    faults: list[Fault] = field(default_factory=list)
    warnings: list[Fault] = field(default_factory=list)
    price: Estimate = field(default_factory=lambda: Estimate(None, None))
    made: Record | None = None
    waits: bool = False
    same_as: int = 0
    capped: SpendCapReached | None = None
    most: float = math.inf
    model_name: str = ""
    mode: str = ""
    duration: str = ""
    shape: Fraction | None = None
    size: tuple[int, int] | None = None
    has_sound: bool = False

    @property
    def is_paid(self) -> bool:
        """Whether it costs nothing: it is made, or an earlier shot is the same request."""
        return self.made is not None or 0 < self.same_as < self.number

    @property
    def units(self) -> float | None:
        """What it will cost now; 0 for one that is paid, None for one that cannot be made."""
        if self.faults:
            return None
        return 0.0 if self.is_paid else self.price.units

    @property
    def continues(self) -> bool:
        """Whether it begins with the last frame of the shot before."""
        return continues(self.request)

    @property
    def sounds(self) -> bool:
        """Whether its clip has a sound, as far as that was asked for."""
        asked = self.new_row.request.get("sound") if self.new_row else "off"
        return self.has_sound or asked == "on"

    @property
    def setting(self) -> str:
        """Model, mode and seconds in words."""
        seconds = f"{self.duration} s" if self.duration else ""
        return " ".join(filter(None, (self.model_name, self.mode, seconds)))

    def row(self) -> ShotRow:
        """What the ledger keeps of it."""
        known = self.made is not None and not self.made.is_unanswered
        record_id = self.made.id if known and self.made else ""
        return ShotRow.of(self.number, self.request, record_id, self.agreed)

    @property
    def agreed(self) -> Agreed | None:
        """What is agreed to with the film; None for one that is made and cannot be judged."""
        if self.new_row is None:
            return None
        return Agreed(
            provider=self.new_row.provider,
            base_url=self.new_row.base_url,
            sandbox=self.new_row.sandbox,
            model_name=self.new_row.model_name,
            units=self.price.units,
            digest="" if self.waits else self.new_row.digest,
            pictures={} if self.waits else dict(self.new_row.picture_hashes),
        )


def frame_of(record: Record) -> str:
    """The address of the last frame of a shot."""
    return f"kling://tasks/{record.id}/frames/last"


async def planned(
    way: Submission,
    principal: Principal,
    policy: PicturePolicy,
    film: FilmArguments,
    before: FilmRow | None,
    clips: ExistingClips,
) -> list[PlannedShot]:
    """Every shot, judged as a dry run judges it. Nothing is sent or written."""
    kept = await _kept(way, before)
    plan: list[PlannedShot] = []
    first: dict[tuple[str, str, int], int] = {}
    words_in = await ratio_of_words(film, policy, before)
    for number, request in enumerate(film.given(words_in), start=1):
        shot = PlannedShot(number=number, request=request)
        plan.append(shot)
        if request.get("video"):
            await _take(shot, clips, before.id if before else "")
            shot.warnings += _out_of_reach(shot, way)
            continue
        last = plan[-2].made if number > 1 else None
        frame = frame_of(last) if last and last.status == "succeed" else ""
        shot.waits = shot.continues and not frame
        if shot.waits:
            frame = stand_in(plan[-2].shape if number > 1 else None)
        found = kept.get(digest_of(request))
        if found is None or not await _judge_kept(shot, way, principal, policy, frame, found):
            await _judge(shot, way, principal, policy, frame)
        if shot.new_row and not shot.waits and not shot.faults:
            place = shot.new_row.provider, shot.new_row.digest, shot.new_row.take
            shot.same_as = first.setdefault(place, number)
        if shot.made is None and found and found.is_unanswered:
            shot.warnings += _may_be_paid(number, found, way)
        lacks = bool(shot.faults) and all(fault.rule in GONE for fault in shot.faults)
        led = last.id if last else None
        follows = found and (not shot.continues or led == _led_to(found, before))
        if lacks and follows and found and found.status == "succeed":
            shot.made, shot.faults = found, []  # its picture is gone since; its clip is not
        elif shot.faults and found and found.status == "succeed":
            shot.faults[0] = _or_kept(shot.faults[0], found)
        shot.warnings += _out_of_reach(shot, way)
    return plan


GONE = ("path_missing", "path_of_a_chat", "task_picture")
"""The rules of faults about a picture that is not there any more."""


def _or_kept(fault: Fault, row: Record) -> Fault:
    """The fault of a shot whose clip this row made under other rules, or of another picture."""
    made = "was played" if row.sandbox else "is paid"
    kept = f'in the place of the shot {{"video": "{row.handle}"}}, which keeps the clip that {made}'
    return replace(fault, use=" or ".join(filter(None, (fault.use, kept))))


def _led_to(row: Record, before: FilmRow | None) -> str:
    """The id of the row of the shot before the one that this row made."""
    shots = before.shots if before else ()
    return next((a.record_id for a, b in pairwise(shots) if b.record_id == row.id), "")


async def _take(shot: PlannedShot, clips: ExistingClips, film_id: str) -> None:
    """Have a video that is there already be the shot."""
    shot.faults += video_faults(shot.number, shot.request)
    found = await clips.named(shot.request["video"], film_id)
    shot.faults += shot_faults(shot.number, found.faults)
    shot.made, shot.duration, shot.shape = found.record, found.duration, found.shape
    shot.size = found.size
    shot.has_sound = found.facts is not None and found.facts.has_audio
    if found.record is not None:
        shot.request = {"video": found.record.handle}
        shot.model_name, shot.mode = (
            found.record.model_name,
            str(found.record.request.get("mode") or ""),
        )


async def _kept(way: Submission, before: FilmRow | None) -> dict[str, Record]:
    """The rows that were made for a film before, by the digests of their requests, wherever they
    stood in it."""
    shots = [shot for shot in before.shots if shot.record_id] if before else []
    if not shots:
        return {}
    rows = await way.ledger.several([shot.record_id for shot in shots])
    known = ((shot.digest, rows.get(shot.record_id)) for shot in shots)
    return {digest: row for digest, row in known if row and not row.is_gone}


async def _judge_kept(
    shot: PlannedShot,
    way: Submission,
    principal: Principal,
    policy: PicturePolicy,
    image: str,
    kept: Record,
) -> bool:
    """Judge a shot where it was made, if that is not where it would be made now. Returns whether
    the clip of before is it; one of a sandbox is none where a provider charges."""
    default = way.clients.default
    if kept.provider == default.name or (kept.sandbox and not default.sandbox):
        return False
    there = kept.provider in way.clients.names
    judged = PlannedShot(number=shot.number, request=shot.request, waits=shot.waits)
    at = (kept.provider, kept.model_name) if there else None
    await _judge(judged, way, principal, policy, image, at)
    row = judged.new_row
    if not there and row and not judged.faults and row.picture_hashes == kept.picture_hashes:
        judged.made = None if kept.is_unanswered else kept
    if judged.made is None or shot.waits:
        return False
    for name in ("create", "new_row", "warnings", "price", "made", *SETTING):
        setattr(shot, name, getattr(judged, name))
    return True


SETTING = ("model_name", "mode", "duration", "shape")


def _may_be_paid(number: int, row: Record, way: Submission) -> Iterator[Fault]:
    if row.provider not in way.clients.names:
        message = (
            f"was sent to {row.provider} before, and may have been made and paid there. That is "
            "not configured now; here it is made anew, and charged."
        )
        use = f"the key of {row.provider} again, which finds it"
        yield Fault(f"shots[{number}].provider", "may_be_paid", message, use)


def _out_of_reach(shot: PlannedShot, way: Submission) -> Iterator[Fault]:
    made = shot.made
    if made and made.status not in (*ENDED, "queued") and made.provider not in way.clients.names:
        message = (
            f"runs at {made.provider}, which is not configured now: the film cannot end without "
            "its clip."
        )
        use = f"the key of {made.provider} again, or another take, which is charged"
        yield Fault(f"shots[{shot.number}]", "out_of_reach", message, use)


async def _judge(
    shot: PlannedShot,
    way: Submission,
    principal: Principal,
    policy: PicturePolicy,
    image: str,
    at: tuple[str, str] | None = None,
) -> None:
    """Find a shot's faults and price, and what was made of it before, `at` a provider with a model
    where these are given."""
    draft, wrong = shot_draft(shot.number, shot.request, image)
    draft = pinned(draft, *at) if at else draft
    shot.create = ShotCreate(way, principal, policy, draft)
    shot.faults += wrong
    try:
        async with AsyncExitStack() as opened:
            judged = await shot.create.judge(opened)
            shot.new_row, shot.price = judged.new_row, judged.price
            if not shot.waits:
                shot.made = judged.made
            shot.faults += shot_faults(shot.number, judged.verdict.faults)
            if not shot.faults and shot.made is None:
                try:
                    await way.check_price(judged)
                except SpendCapReached as error:
                    shot.capped, shot.most = error, await shot.create.most()
    except (InvalidRequest, ImageRejected) as error:
        shot.faults += shot_faults(shot.number, error.faults)
        return
    except KlingError as error:
        shot.faults.append(Fault(f"shots[{shot.number}]", error.kind, str(error)))
        return
    request = shot.create.request
    warnings = request.review.verdict.warnings
    if shot.waits:  # its picture only stands in for the frame
        warnings = [fault for fault in warnings if fault.field.partition("[")[0] not in IMAGES]
    shot.warnings += shot_faults(shot.number, warnings)
    shot.model_name, shot.mode = request.review.model_name, request.review.mode or ""
    shot.duration = request.arguments.setting.duration
    first = next((picture for picture in request.pictures if picture.field == "image"), None)
    shot.shape = shape_of_picture(first)
    if first is None:
        shot.shape = shape_of(getattr(request.arguments, "aspect_ratio", ""))


def _repeated(shot: PlannedShot) -> Iterator[Fault]:
    if 0 < shot.same_as < shot.number:
        message = f"is the same request as shot {shot.same_as}: the same clip, paid once."
        yield Fault(
            f"shots[{shot.number}].prompt", "same_shot", message, "take: 2, 3, … for another clip"
        )


def warned(plan: Sequence[PlannedShot], more: Iterable[Fault] = ()) -> list[str]:
    """The warnings of all shots; of those that are alike one, with the shots that have it."""
    found = [fault for shot in plan for fault in (*shot.warnings, *_repeated(shot))]
    return [str(fault) for fault in told_once([*found, *more])]


_OF_SHOT = re.compile(r"shots\[(\d+)\]\.?(.*)")


def told_once(faults: Sequence[Fault], film: FilmArguments | None = None) -> list[Fault]:
    """The faults; those of several shots that are alike are one, by the numbers of these shots. Of
    a value in the `film`'s defaults it is said where to put another one."""
    alike: dict[tuple[str, ...], tuple[Fault, list[int]]] = {}
    for fault in faults:
        match = _OF_SHOT.fullmatch(fault.field)
        one = replace(fault, field=match[2]) if match else fault
        said = one.field, one.message, one.use, str(bool(match))
        _, found = alike.setdefault(said, (one, []))
        found += [int(match[1])] if match and int(match[1]) not in found else []
    return [_of_shots(fault, shots, film) for fault, shots in alike.values()]


def _of_shots(fault: Fault, shots: Sequence[int], film: FilmArguments | None) -> Fault:
    if not shots:
        return fault
    name, use = fault.field, fault.use
    if film is not None and use and name in film.defaults:
        by_default = [n for n, shot in enumerate(film.shots, start=1) if name not in shot]
        if set(shots) <= {*by_default}:
            use += " in the defaults" if [*shots] == by_default else f" in {listed_shots(shots)}"
    dot = "." * bool(name)
    field = f"shots[{shots[0]}]{dot}{name}"
    if len(shots) > 1:
        field = f"{listed_shots(shots)}{', ' * bool(name)}{name}"
    return replace(fault, field=field, use=use)
