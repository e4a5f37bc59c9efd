"""What is paid before a create: the faces of a video are found, and a text becomes a sound.

Each step has a row of its own in the ledger and goes the states of a create (`sender`); but the
provider answers it at once, takes no id of ours, and cannot be asked for it. So a step whose answer
was lost is not made again unless the caller raises `take`. What it made serves every request for
the same video or text: another face, another take, a create that was refused. A step that has
become too old is set aside, and made anew.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from kling_mcp.ledger import NewRow, Record
from kling_mcp.providers.client import KlingClient
from kling_mcp.providers.steps import Face, faces_in, seconds_in
from kling_mcp.submission.create_body import (
    FACE,
    SESSION,
    SOUND_AT,
    SOUND_END,
    SPEECH,
    CreateBody,
    StepBody,
)
from kling_mcp.submission.judged_request import JudgedRequest
from kling_mcp.submission.receipts import ask_for_face, faces_receipt
from kling_mcp.submission.submission import AnsweredInstead, Submission
from kling_tools.decorations import decoration
from kling_tools.errors import KlingError, ProviderDown, RequestRefused
from kling_tools.products import PRODUCTS, STEPS, StepEntry
from kling_tools.quoting import counted
from kling_tools.requests.requests import SpeakingRequest
from kling_tools.results import Receipt
from kling_tools.rules.checks import LEAST_SPOKEN_S, speech_fits
from kling_tools.rules.media_limits import SLACK_S

__all__ = ["Steps"]


class Steps:
    """The steps of one call: each is made once, and found again. `note` says what they found,
    `paid` are those that this call paid."""

    def __init__(self, way: Submission) -> None:
        self._way = way
        self._ledger = way.ledger
        self.note = ""
        self.paid: list[StepEntry] = []

    async def judge(self, request: JudgedRequest, made: Record | None) -> JudgedRequest:
        """The request with the steps that are to be paid now."""
        if made is not None or not _wanted(request):
            return request
        owed = []
        for step in _wanted(request):
            row = await self._kept(request, step)
            if row is None:
                owed.append(step)
            elif step.name == "speech" and (spoken_s := seconds_in(row.message)) is not None:
                request = request.lasting(spoken_s)
        return replace(request, steps=owed)

    async def _last(self, judged: JudgedRequest, step: StepEntry) -> Record | None:
        return await self._ledger.last_made(_new_row(judged, step, StepBody({})))

    async def _kept(self, judged: JudgedRequest, step: StepEntry) -> Record | None:
        """The row whose answer serves this request; None where the step is to be made."""
        last = await self._last(judged, step)
        return last if last and last.task_id and not self._is_old(last, step) else None

    def _is_old(self, row: Record, step: StepEntry) -> bool:
        return self._ledger.now() - row.created_at > step.keeps_s

    async def make(
        self, request: JudgedRequest, client: KlingClient, addresses: Mapping[str, str]
    ) -> tuple[JudgedRequest, Mapping[str, Any]]:
        """Make the steps that are not made yet, one after the other: a text is spoken once the face
        is known. Returns the request with its true price, and the values for its body.

        Raises AnsweredInstead with the faces of a video of which the caller chose none, KlingError
        where the create would be refused, SpendCapReached, and ProviderError.
        """
        face, values, notes = None, dict[str, Any](), []
        if request.steps:
            whole = replace(request.new_row, estimate_units=request.price.units)
            await self._ledger.check_day(whole, self._way.caps.per_day)
        for step in _wanted(request):
            row, before = await self._row(request, step, client, addresses)
            if step.name == "face-check":
                faces = faces_in(row.message)
                face = _chosen(request, faces, before)
                if face is None:
                    raise AnsweredInstead(await self._faces_shown(request, faces, client))
                values |= {SESSION: row.task_id, FACE: face.id}
                which = f"Face {faces.index(face) + 1} of {len(faces)}"
                which = which if len(faces) > 1 else "The one face of it"
                notes.append(f"{which} speaks, seen from {face.from_s:g} to {face.to_s:g} s.")
            else:
                spoken_s = _fitting(request, seconds_in(row.message))
                values |= {SPEECH: row.task_id, SOUND_END: int(spoken_s * 1000)}
                request = request.lasting(spoken_s)
                notes.append(f"The text lasts {spoken_s:.3g} s.")
        if face is not None:
            whole_ms = int((request.arguments.length_s(request.lengths) or 0.0) * 1000)
            ends = values.setdefault(SOUND_END, whole_ms)
            values[SOUND_AT] = _begins(request, face, ends / 1000)
        self.note = " ".join(notes)
        return replace(request, steps=[*self.paid]), values

    async def _row(
        self,
        request: JudgedRequest,
        step: StepEntry,
        client: KlingClient,
        addresses: Mapping[str, str],
    ) -> tuple[Record, Record | None]:
        """The row of a step with its answer, and the row that it replaces."""
        last = await self._last(request, step)
        if last is not None and last.task_id is not None:
            if not self._is_old(last, step):
                return last, None
            await self._ledger.set_aside(last.id)
        body = _body(request, step).with_addresses(addresses)
        new_row = _new_row(request, step, body)
        row, new = await self._way.sender.send_at_once(
            new_row, client, body, self._way.caps.per_day
        )
        if row.task_id is None:  # another process asked for it, and was refused
            raise ProviderDown(
                f"The {step.words} was refused to another call just now.",
                provider=row.provider,
                charged="no" if row.is_gone else "unknown",
                advice="Call again.",
            )
        if new:
            self.paid.append(step)
        return row, last

    async def explain(self, request: JudgedRequest, error: KlingError) -> None:
        """Say in an error of the call what its steps cost. A session that the provider knows no
        longer is set aside: the next call finds the faces anew."""
        if self.paid and error.charged == "no":
            error.charged = "no" if request.provider.sandbox else "yes"
            error.advice = f"{self._paid_text(request)} {error.advice}".strip()
        refused = isinstance(error, RequestRefused) and "session" in error.provider_says.lower()
        for step in _wanted(request) if refused else ():
            row = await self._last(request, step)
            if row is not None and step.name == "face-check":
                await self._ledger.set_aside(row.id)
                price = counted(step.units, "unit")
                error.advice = f"Call again: the faces are found anew ({price}). {error.advice}"

    def _paid_text(self, request: JudgedRequest) -> str:
        """What this call paid for its steps; in a sandbox, what they would have cost."""
        what = f"The {' and '.join(step.words for step in self.paid)}"
        price = counted(round(sum(step.units for step in self.paid), 4), "unit")
        was, is_ = ("was", "is") if len(self.paid) == 1 else ("were", "are")
        paid = f"{what} ({price}) {was} paid and {is_} kept"
        if request.provider.sandbox:
            paid = f"{what} would have cost {price} and {is_} kept"
        return f"{paid}: the next call does not pay again."

    async def foretell(self, judged: JudgedRequest, answer: Receipt) -> None:
        """Tell in the answer to a dry run what is known of the faces."""
        for step in _wanted(judged):
            row = await self._kept(judged, step)
            if answer.faults:
                continue
            if step.name == "speech":
                answer.warnings += _speech_foretold(judged, step, row)
                continue
            if row is None:
                continue
            faces = faces_in(row.message)
            number = getattr(judged.arguments, "face", None)
            if len(faces) > 1 and number is None:
                ask_for_face(answer, _times(faces))
            elif not faces or (number or 1) > len(faces):
                answer.warnings.append(f"face: the video has {counted(len(faces), 'face')}.")

    async def _faces_shown(
        self, request: JudgedRequest, faces: Sequence[Face], client: KlingClient
    ) -> Receipt:
        """The answer that shows the faces of a video, so that the caller can choose one."""
        answer = faces_receipt(await self.judge(request, None), _times(faces))
        if self.paid:
            answer.note = " ".join(filter(None, (self._paid_text(request), answer.note)))
        with decoration("the pictures of faces"):
            from kling_mcp.outputs.pictures_of_videos import element_pictures

            pictures = [face.picture for face in faces if face.picture]
            answer.show(await element_pictures(client, pictures, self._way.limits.decoding))
        return answer


def _wanted(judged: JudgedRequest) -> list[StepEntry]:
    """The steps of this request, made or not."""
    named = PRODUCTS[judged.review.product].steps
    words = judged.arguments.words()
    return [STEPS[name] for name in named if name != "speech" or words]


def _body(judged: JudgedRequest, step: StepEntry) -> StepBody:
    if step.name == "face-check":
        video = next(medium for medium in judged.media if medium.field == "video")
        return StepBody({"video_url": video})
    speech = _speech(judged)
    return StepBody({name: value for name, value in speech.items() if value is not None})


def _speech(judged: JudgedRequest) -> dict[str, Any]:
    arguments = judged.arguments
    return {
        "text": arguments.words(),
        "voice_id": getattr(arguments, "voice_id", ""),
        "voice_language": getattr(arguments, "language", "en"),
        "voice_speed": getattr(arguments, "voice_speed", None),
    }


def _new_row(judged: JudgedRequest, step: StepEntry, body: CreateBody) -> NewRow:
    """What the ledger keeps of a step: the same for every request for the same video or text."""
    of: Any = _speech(judged)
    if step.name == "face-check":
        of = next((medium.sha256 for medium in judged.media if medium.field == "video"), "")
    whose = [judged.principal.name] if judged.principal.name else []
    same = json.dumps([step.name, of, *whose], sort_keys=True, ensure_ascii=False)
    return NewRow(
        provider=judged.provider.name,
        base_url=judged.provider.base_url,
        product=step.name,
        digest=hashlib.sha256(same.encode()).hexdigest(),
        take=judged.arguments.take,
        model_name=judged.new_row.model_name,
        prompt=judged.new_row.prompt,
        pictures=judged.new_row.pictures,
        request=body.labelled(),
        arguments={
            name: value
            for name, value in judged.new_row.arguments.items()
            if name == "video" and step.name == "face-check"
        },
        estimate_units=step.units,
        principal=judged.principal.name,
        sandbox=judged.provider.sandbox,
        usd_per_unit=judged.capabilities.usd_per_unit,
        named=False,
    )


def _refusal(message: str, use: str) -> KlingError:
    """The error about what a step found out: the create would be refused."""
    return KlingError(f"{message} The video was not made.", charged="no", advice=f"Use {use}.")


def _chosen(judged: JudgedRequest, faces: Sequence[Face], before: Record | None) -> Face | None:
    """The face that speaks; None where the caller has to choose: of several none was chosen, or
    they are not those any more among which it was. Raises KlingError."""
    number = getattr(judged.arguments, "face", None)
    if not faces:
        raise _refusal("Kling finds no face in the video.", "one in which a face is well seen")
    if number is not None and number > len(faces):
        message = f"There is no face {number}: the video has {counted(len(faces), 'face')}."
        raise _refusal(message, f"face 1 to {len(faces)}" if len(faces) > 1 else "face 1")
    if len(faces) == 1:
        return faces[0]
    old = _times(faces_in(before.message)) if before and before.task_id else _times(faces)
    return None if number is None or old != _times(faces) else faces[number - 1]


def _times(faces: Sequence[Face]) -> list[tuple[float, float]]:
    return [(face.from_s, face.to_s) for face in faces]


def _speech_foretold(judged: JudgedRequest, step: StepEntry, row: Record | None) -> list[str]:
    """Warnings about the length of a speech: by its letters, or as it is known."""
    if row is not None:
        try:
            _fitting(judged, seconds_in(row.message))
        except KlingError as error:
            return [f"text: {error.message} {error.advice}"]
        return []
    if not isinstance(judged.arguments, SpeakingRequest):
        return []
    doubts = speech_fits(judged.arguments, judged.lengths.get("video"), surely=False)
    lost = f"If it does not fit, {counted(step.units, 'unit')} for the {step.words} are lost."
    return [f"{doubt} {lost}" for doubt in doubts]


def _fitting(judged: JudgedRequest, spoken_s: float | None) -> float:
    """The length of a speech. Raises KlingError for one that Kling does not take, or that does not
    fit into the video."""
    least, most = judged.length_limits.seconds
    most = min(judged.lengths.get("video") or most, most)
    if spoken_s is None:
        raise _refusal("Kling did not tell how long the speech is.", "sound_file in its place")
    if not least - SLACK_S <= spoken_s <= most + SLACK_S:
        message = f"The text lasts {spoken_s:.3g} s; {least:g} to {most:.4g} s fit here."
        use = "fewer words or a higher voice_speed" if spoken_s > most else "more words"
        raise _refusal(message, use)
    return spoken_s


def _begins(judged: JudgedRequest, face: Face, spoken_s: float) -> int:
    """The milliseconds after which the sound begins: as asked, else where the face appears, or as
    much earlier as the sound requires. Raises KlingError for a sound that hardly meets the face."""
    asked = getattr(judged.arguments, "sound_insert_time", None)
    video_s = judged.lengths.get("video")
    begins = face.from_s if asked is None else asked / 1000
    if asked is None and video_s is not None:
        begins = max(0.0, min(begins, video_s - spoken_s))
    meets = min(face.to_s, begins + spoken_s) - max(face.from_s, begins)
    if meets < LEAST_SPOKEN_S - SLACK_S:
        message = (
            f"The face is seen from {face.from_s:g} to {face.to_s:g} s: the sound meets it for "
            f"{max(meets, 0):.3g} s, and Kling requires 2."
        )
        at = f"sound_insert_time {int(face.from_s * 1000)}"
        raise _refusal(message, "a face that is seen for longer" if asked is None else at)
    return int(begins * 1000)
