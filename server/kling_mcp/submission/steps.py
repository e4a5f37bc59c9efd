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
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from kling_mcp.ledger import NewRow, Record
from kling_mcp.providers.client import KlingClient
from kling_mcp.providers.steps import Face, faces_in, is_readable, seconds_in
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
from kling_mcp.submission.made_tasks import repeat_refused
from kling_mcp.submission.receipts import ask_for_face, faces_receipt
from kling_mcp.submission.submission import AnsweredInstead, Submission
from kling_tools.decorations import decoration
from kling_tools.errors import KlingError, ProviderDown, RequestRefused
from kling_tools.faults import Fault
from kling_tools.products import PRODUCTS, STEPS, StepEntry
from kling_tools.quoting import counted
from kling_tools.requests.requests import SpeakingRequest
from kling_tools.results import Receipt
from kling_tools.rules.checks import LEAST_SPOKEN_S, lengths_fit, speech_fits
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
                request = _lasting(request, spoken_s)
        return replace(request, steps=owed)

    async def take_made_anew(self, request: JudgedRequest) -> int | None:
        """The take in which this request was made after the answer to a step of its own take was
        lost; None where it was not. So the same request is not made and paid once more."""
        if not _wanted(request) or not self._ledger.exists:
            return None
        later = [t for t in await self._ledger.takes(request.new_row) if t > request.arguments.take]
        for step in _wanted(request) if later else ():
            new_row = _new_row(request, step, StepBody({}))
            lost = await self._ledger.peek(new_row)
            for take in later if lost and lost.is_unanswered else ():
                anew = await self._ledger.peek(replace(new_row, take=take))
                if anew and lost and anew.created_at >= lost.created_at:
                    return take
        return None

    async def known_faults(self, judged: JudgedRequest) -> list[Fault]:
        """What is known already of the steps, and speaks against the request. That an answer was
        lost is told here in a dry run alone: else it is an error of its own."""
        found, face, lengths = list[Fault](), None, judged.lengths
        for step in _wanted(judged):
            row = await self._kept(judged, step)
            if row is None:
                new_row = _new_row(judged, step, StepBody({}))
                lost = await self._ledger.peek(new_row) if self._ledger.exists else None
                if judged.arguments.dry_run and lost and lost.is_unanswered:
                    told = repeat_refused(lost, judged.provider.row)
                    message = f"{told.message} {told.advice}"
                    found.append(Fault("take", "step_lost", message))
            elif step.name == "face-check":
                faces = faces_in(row.message)
                found += [*_face_faults(judged, faces)]
                face = None if found else _chosen(judged, faces, None)
            else:
                lengths = {**lengths, "text": seconds_in(row.message)}
                found += [*_speech_faults(judged, lengths["text"])]
        heard_s = judged.arguments.length_s(lengths)
        if not found and face and heard_s and (not judged.arguments.words() or "text" in lengths):
            found += [*_meeting_faults(judged, face, heard_s)]
        return found

    async def _last(self, judged: JudgedRequest, step: StepEntry) -> Record | None:
        return await self._ledger.last_made(_new_row(judged, step, StepBody({})))

    async def _kept(self, judged: JudgedRequest, step: StepEntry) -> Record | None:
        """The row whose answer serves this request; None where the step is to be made."""
        last = await self._last(judged, step)
        if last is None or last.task_id is None or await self._is_old(judged, last, step):
            return None
        return last

    async def _is_old(self, judged: JudgedRequest, row: Record, step: StepEntry) -> bool:
        """Whether what a step made serves no longer: by its age, as its row is damaged, or because
        Kling has refused the session since, when this request was sent from the queue, say."""
        aged = self._ledger.now() - row.created_at > step.keeps_s
        if aged or not is_readable(row.message, step.name):
            return True
        sent = await self._ledger.peek(judged.new_row) if step.name == "face-check" else None
        refused = sent is not None and sent.is_gone and sent.updated_at >= row.created_at
        return refused and sent is not None and _is_about_session(sent.message)

    async def shown_elsewhere(
        self, request: JudgedRequest, others: Sequence[JudgedRequest]
    ) -> Record | None:
        """The face check at another provider by which the caller chose a face, where this one has
        none: the number is one of the faces that were shown there."""
        check = STEPS["face-check"]
        if getattr(request.arguments, "face", None) is None or await self._kept(request, check):
            return None
        for other in others:
            there = replace(other, pictures=request.pictures, media=request.media)
            able = not there.review.verdict.faults
            row = await self._kept(there, check) if able else None
            if row and len(faces_in(row.message)) > 1:
                return row
        return None

    async def make(
        self, request: JudgedRequest, client: KlingClient, addresses: Mapping[str, str]
    ) -> tuple[JudgedRequest, Mapping[str, Any]]:
        """Make the steps that are not made yet, one after the other: a text is spoken once the face
        is known. Returns the request with its true price, and the values for its body.

        Raises AnsweredInstead with the faces of a video of which the caller chose none, KlingError
        where the create would be refused, SpendCapReached, and ProviderError.
        """
        if not _wanted(request):
            return request, {}
        face, spoken_s, values, notes = None, None, dict[str, Any](), []
        if request.steps:
            whole = replace(request.new_row, estimate_units=request.price.units)
            await self._ledger.check_day(whole, self._way.caps.per_day)
        for step in _wanted(request):
            row, before = await self._row(request, step, client, addresses)
            if step.name == "face-check":
                faces = faces_in(row.message)
                _refuse([*_face_faults(request, faces)])
                face = _chosen(request, faces, before)
                if face is None:
                    raise AnsweredInstead(await self._faces_shown(request, faces, client))
                values |= {SESSION: row.task_id, FACE: face.id}
                which = f"Face {faces.index(face) + 1} of {len(faces)}"
                which = which if len(faces) > 1 else "The one face of it"
                notes.append(f"{which} speaks, seen from {face.from_s:g} to {face.to_s:g} s.")
            else:
                spoken_s = seconds_in(row.message)
                _refuse([*_speech_faults(request, spoken_s)])
                assert spoken_s is not None
                values |= {SPEECH: row.task_id, SOUND_END: _ms(spoken_s)}
                request = _lasting(request, spoken_s)
                notes.append(f"The text lasts {spoken_s:.3g} s.")
        if face is not None:
            heard_s = request.arguments.length_s({**request.lengths, "text": spoken_s}) or 0.0
            values.setdefault(SOUND_END, _ms(heard_s))
            _refuse([*_meeting_faults(request, face, heard_s)])
            values[SOUND_AT] = _ms(_begins(request, face, heard_s))
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
            if not await self._is_old(request, last, step):
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
        refused = isinstance(error, RequestRefused) and _is_about_session(error.provider_says)
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
                answer.warnings += _speech_foretold(judged, step) if row is None else []
            elif row is not None:
                faces = faces_in(row.message)
                if _chosen(judged, faces, None) is None:
                    ask_for_face(answer, _times(faces))

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


def _is_about_session(provider_says: str) -> bool:
    return "session" in provider_says.lower()


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
    speed = getattr(arguments, "voice_speed", None)
    return {
        "text": arguments.words(),
        "voice_id": getattr(arguments, "voice_id", ""),
        "voice_language": getattr(arguments, "language", "en"),
        "voice_speed": speed if speed != 1 else None,
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
        own_usd_per_unit=judged.provider.row.usd_per_unit,
        named=False,
    )


def _lasting(judged: JudgedRequest, spoken_s: float) -> JudgedRequest:
    """The request with the price of a text that lasts so long."""
    return judged.lasting(judged.arguments.length_s({**judged.lengths, "text": spoken_s}))


def _refuse(faults: Sequence[Fault]) -> None:
    """Raises KlingError for what a step found out: the create would be refused."""
    for fault in faults:
        message = f"{fault.message[:1].upper()}{fault.message[1:]} The video was not made."
        raise KlingError(message, charged="no", advice=f"Use {fault.use}.")


def _face_faults(judged: JudgedRequest, faces: Sequence[Face]) -> Iterator[Fault]:
    """The fault of a video without a face, or of a number that no face has."""
    number = getattr(judged.arguments, "face", None)
    if not faces:
        use = "one in which a face is well seen"
        yield Fault("video", "face_found", "Kling finds no face in the video.", use)
    elif number is not None and number > len(faces):
        message = f"There is no face {number}: the video has {counted(len(faces), 'face')}."
        use = f"face 1 to {len(faces)}" if len(faces) > 1 else "face 1"
        yield Fault("face", "face_found", message, use)


def _chosen(judged: JudgedRequest, faces: Sequence[Face], before: Record | None) -> Face | None:
    """The face that speaks; None where the caller has to choose: of several none was chosen, or
    they may not be those any more among which it was."""
    number = getattr(judged.arguments, "face", None)
    if len(faces) == 1:
        return faces[0]
    times = _times(faces)
    told_apart = len({*times}) == len(times)
    same = before is None or not before.task_id
    if before is not None and before.task_id and is_readable(before.message, "face-check"):
        same = told_apart and _times(faces_in(before.message)) == times
    return faces[number - 1] if number is not None and same else None


def _ms(seconds: float) -> int:
    """The whole milliseconds of these seconds."""
    return int(round(seconds * 1000, 3))


def _times(faces: Sequence[Face]) -> list[tuple[float, float]]:
    return [(face.from_s, face.to_s) for face in faces]


def _speech_foretold(judged: JudgedRequest, step: StepEntry) -> list[str]:
    """Warnings about the length of a speech, by its letters."""
    if not isinstance(judged.arguments, SpeakingRequest):
        return []
    doubts = speech_fits(judged.arguments, judged.lengths.get("video"), surely=False)
    lost = f"If it does not fit, {counted(step.units, 'unit')} for the {step.words} are lost."
    return [f"{doubt} {lost}" for doubt in doubts]


def _speech_faults(judged: JudgedRequest, spoken_s: float | None) -> Iterator[Fault]:
    """The faults of a speech that Kling does not take, or that does not fit into the video."""
    if spoken_s is None:
        message = "Kling did not tell how long the speech is."
        yield Fault("text", "speech_fits", message, "sound_file in its place")
        return
    yield from lengths_fit(judged.arguments, {**judged.lengths, "text": spoken_s})


def _begins(judged: JudgedRequest, face: Face, heard_s: float) -> float:
    """The seconds after which the sound begins: as asked, else where the face appears, or as much
    earlier as the sound requires."""
    asked = getattr(judged.arguments, "sound_insert_time", None)
    video_s = judged.lengths.get("video")
    if asked is not None:
        return float(asked / 1000)
    return face.from_s if video_s is None else max(0.0, min(face.from_s, video_s - heard_s))


def _meeting_faults(judged: JudgedRequest, face: Face, heard_s: float) -> Iterator[Fault]:
    """The fault of a sound that hardly meets the face."""
    begins = _begins(judged, face, heard_s)
    meets = min(face.to_s, begins + heard_s) - max(face.from_s, begins)
    if meets < LEAST_SPOKEN_S - SLACK_S:
        message = (
            f"The face is seen from {face.from_s:g} to {face.to_s:g} s: the sound meets it for "
            f"{max(meets, 0):.3g} s, and Kling requires 2."
        )
        asked = getattr(judged.arguments, "sound_insert_time", None)
        at = f"sound_insert_time {_ms(face.from_s)}"
        use = "a face that is seen for longer" if asked is None else at
        yield Fault("sound_insert_time", "sound_meets_face", message, use)
