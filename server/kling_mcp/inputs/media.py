"""Sounds and videos of a request: found in any form, measured, and held until they are sent.

Their real type, length, size, rate and loudness are read here, before anything is paid. Kling
fetches a video itself, so one that is only on this machine has to get an address.
"""

from __future__ import annotations

import array
import dataclasses
import hashlib
import io
import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kling_mcp.inputs.decoding import Decoding
from kling_mcp.inputs.file_type import HEAD_BYTES, SOUND, VIDEO, FileType, detect
from kling_mcp.inputs.held import HeldFile, SourceChanged, StreamedBase64
from kling_mcp.inputs.inline import keep
from kling_mcp.inputs.mp4 import NotWholeMp4, check_structure, facts_of
from kling_mcp.inputs.picture import Kind, recognise
from kling_mcp.inputs.policy import (
    PicturePolicy,
    TaskVideo,
    take_pictures,
)
from kling_mcp.inputs.refusal import FORMS, Refusal
from kling_mcp.inputs.urls import PictureUrl
from kling_tools.addresses import VIDEO_URI, bare_task, is_address, task_of
from kling_tools.errors import KlingError
from kling_tools.faults import Fault, Verdict
from kling_tools.rules.media_limits import SILENT, SLACK_S, VOICE_SAMPLE, MediaFormat, MediaLimits

if TYPE_CHECKING:
    from av.container import InputContainer

__all__ = ["MediaFacts", "Medium", "Wish", "is_heard", "open_media", "read_media", "reader_of"]


@dataclass(frozen=True, slots=True)
class MediaFacts:
    """What a file holds. `seconds` are those of its video, or of its sound; 0 px, 0 frames per
    second and 0 Hz mean that it has no such track. `loudest` is the loudest sample, of 1; None for
    a sound that was not listened to."""

    format: MediaFormat
    seconds: float
    size_bytes: int
    width: int = 0
    height: int = 0
    fps: float = 0.0
    rate_hz: int = 0
    channels: int = 0
    loudest: float | None = None


RATE_HZ = 8_000
"""The rate at which a sound is read to find out how long and how loud it is."""

LISTENED_BYTES = 32 * 2**20
"""Memory that is reserved while a sound is decoded."""

_READERS: dict[MediaFormat, str] = {
    "MP4": "mp4",
    "MOV": "mp4",
    "M4A": "mp4",
    "MP3": "mp3",
    "WAV": "wav",
    "AAC": "aac",
}
"""FFmpeg's readers. Each is named, so that no other one (playlists fetch URLs) is ever guessed."""


def format_of(head: bytes) -> MediaFormat | None:
    """The format by the first bytes of a file; None for one that Kling takes nowhere."""
    kind, brand = detect(head), head[8:12]
    if kind is VIDEO and head[4:8] == b"ftyp":
        return "MOV" if brand == b"qt  " else "MP4"
    if kind is VIDEO and head[4:8] in (b"moov", b"wide", b"mdat", b"skip"):
        return "MOV"
    if kind is not SOUND:
        return None
    if head[4:8] == b"ftyp":
        return "M4A"
    if head[:4] == b"RIFF":
        return "WAV"
    if head[:3] == b"ID3":
        return "MP3"
    if head[:1] == b"\xff":
        return "AAC" if head[1] & 0xF6 == 0xF0 else "MP3"
    return None


def reader_of(head: bytes) -> str | None:
    """FFmpeg's reader of a file with sound, by its first bytes: for all that Kling takes, FLAC and
    OGG; None for others."""
    found = format_of(head)
    if found is not None:
        return _READERS[found]
    return {b"fLaC": "flac", b"OggS": "ogg"}.get(head[:4])


def read_media(held: HeldFile, limits: MediaLimits, decoding: Decoding) -> MediaFacts:
    """The facts of a sound or video. Raises `Refusal` for another type, and for a damaged file;
    `SourceChanged`; and KlingError when no memory is free."""
    head = held.head(HEAD_BYTES)
    found = format_of(head)
    noun = limits.noun
    if found not in limits.formats:
        said = f"a {found} file" if found else detect(head).said
        raise Refusal(
            f"{noun}_type",
            f"{held.label} is {said}; Kling takes {limits.formats_text} here.",
            f"a copy of it as {limits.formats[0]}"
            if detect(head) in (SOUND, VIDEO)
            else f"a {noun}",
            limits.source,
        )
    try:
        if found in ("MP4", "MOV") and noun == "video":
            return _video_facts(held, found)
        with decoding.room(LISTENED_BYTES):
            return _sound_facts(held, found, limits)
    except (KlingError, SourceChanged, Refusal):
        raise
    except NotWholeMp4 as error:
        reason = error.reason
    except Exception:  # decoders raise anything when the bytes are hostile
        reason = "It is damaged or cut short."
    raise Refusal(
        f"{noun}_damaged",
        f"{held.label} cannot be read as {found}: {reason[:1].lower()}{reason[1:]}",
        "a whole copy, one that plays from its beginning to its end",
    )


def _video_facts(held: HeldFile, found: MediaFormat) -> MediaFacts:
    with held.view() as file:
        check_structure(file, held.size, quicktime=found == "MOV")
        facts = facts_of(file, held.size)
    return MediaFacts(
        found,
        facts.duration_s,
        held.size,
        facts.width,
        facts.height,
        facts.fps,
        facts.rate_hz,
        facts.channels,
    )


def _sound_facts(held: HeldFile, found: MediaFormat, limits: MediaLimits) -> MediaFacts:
    """A sound is measured by decoding it: what its header claims is a guess in MP3 and AAC."""
    import av

    with held.view() as file:
        if _READERS[found] == "mp4":
            check_structure(file, held.size, quicktime=found == "MOV")
        with av.open(file, "r", format=_READERS[found], metadata_errors="replace") as container:
            if not container.streams.audio:
                raise Refusal("sound_missing", f"{held.label} has no sound.", "a file with sound")
            audio = container.streams.audio[0]
            rate_hz, channels = audio.rate or 0, audio.channels or 0
            read, loudest = listened(container, limits.seconds[1])
    if not read:
        raise Refusal(
            "sound_damaged", f"{held.label} has no sound that can be read.", "a sound that plays"
        )
    return MediaFacts(found, read, held.size, rate_hz=rate_hz, channels=channels, loudest=loudest)


def listened(container: InputContainer, most_s: float) -> tuple[float, float]:
    """The seconds of the first sound, and the loudest sample, of 1, of what is listened to: it
    stops a little after `most_s`."""
    import av

    resampler = av.AudioResampler("s16", "mono", RATE_HZ)
    seconds, loudest = 0.0, 0
    for frame in container.decode(audio=0):
        seconds += frame.samples / frame.sample_rate
        for part in resampler.resample(frame):
            values = array.array("h", bytes(part.planes[0])[: 2 * part.samples])
            loudest = max(loudest, max(values, default=0), -min(values, default=0))
        if seconds > most_s + 1:
            return max(seconds, _ends_at(container)), loudest / 2**15
    return round(seconds, 6), loudest / 2**15


def _ends_at(container: InputContainer) -> float:
    """The seconds at which the first sound ends; what has not been read yet is not decoded."""
    ends = 0.0
    for packet in container.demux(audio=0):
        if packet.pts is not None and packet.time_base is not None:
            ends = max(ends, float((packet.pts + (packet.duration or 0)) * packet.time_base))
    return ends


_WRITERS: dict[str, str] = {"mp4": "ipod", "mp3": "mp3", "wav": "wav", "aac": "adts"}
"""FFmpeg's writers, by its readers."""


def _beginning(held: HeldFile, found: MediaFormat, ends_s: float) -> HeldFile:
    """The first seconds of a sound as a file of its own, without decoding it; at most one packet
    longer. Raises `Refusal`."""
    import av

    reader, part = _READERS[found], io.BytesIO()
    try:
        with (
            held.view() as file,
            av.open(file, "r", format=reader, metadata_errors="replace") as source,
            av.open(part, "w", format=_WRITERS[reader]) as target,
        ):
            kept = target.add_stream_from_template(source.streams.audio[0])
            for packet in source.demux(audio=0):
                if packet.pts is None or packet.time_base is None:
                    continue
                if packet.pts * packet.time_base >= ends_s:
                    break
                packet.stream = kept
                target.mux(packet)
    except (av.FFmpegError, ValueError) as error:
        message = f"{held.label} cannot be cut."
        raise Refusal("sound_damaged", message, "a copy that is cut already") from error
    return keep([part.getvalue()], held.label)


async def is_heard(path: Path, policy: PicturePolicy) -> bool:
    """Whether the MP4 file of a video has a sound that is not silent. The work is done in a
    thread."""

    def heard() -> bool:
        import av

        try:
            with av.open(str(path), "r", format="mp4") as container:
                return (
                    bool(container.streams.audio)
                    and listened(container, VOICE_SAMPLE.seconds[1])[1] >= SILENT
                )
        except (OSError, ValueError):  # av's own errors are both
            return False

    return await policy.decoding.run(heard)


@dataclass(frozen=True, slots=True)
class Wish:
    """A sound or video that a request names: its field, the value that was given, and the limits of
    Kling's page. `for_pictures` is the tool that takes a picture in the place of a video. Of a
    sound that is too long, the first `ends_s` seconds are sent where the argument `ended_by` names
    them."""

    field: str
    value: str
    limits: MediaLimits
    for_pictures: str = ""
    ended_by: str = ""
    ends_s: float | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Medium:
    """A sound or video that passed every check that is possible here.

    `label`, `sha256` and `bytes_sha256` are those of a `Picture`. `seconds` is its length, None
    when it is not known. `url` is its address for Kling; empty for one that is sent as base64, and
    for one that has to get an address yet. `made_here`: a sandbox made it, at an address that only
    that sandbox can read.
    """

    field: str
    kind: Kind
    label: str
    sha256: str
    limits: MediaLimits
    seconds: float | None = None
    facts: MediaFacts | None = None
    url: str = dataclasses.field(default="", repr=False)
    held: HeldFile | None = dataclasses.field(default=None, repr=False)
    bytes_sha256: str = ""
    made_here: bool = False

    @property
    def needs_address(self) -> bool:
        """Whether Kling fetches it, and it is only on this machine."""
        return not self.url and not self.limits.as_bytes

    def at(self, url: str) -> Medium:
        """The same at an address that it was given."""
        return replace(self, url=url)

    def wire(self) -> str | StreamedBase64:
        """The value for the JSON body: its address, or the base64 without a `data:` prefix. Raises
        ValueError for one that has to get an address first."""
        if self.url:
            return self.url
        if self.held is None or self.needs_address:
            raise ValueError(f"{self.field} has no address")
        return StreamedBase64(self.held, self.label)

    def faults(self, ended_by: str = "") -> Iterator[Fault]:
        """Each of its limits that it breaks, as far as it is known. `ended_by` is the argument that
        sends the beginning of a longer one."""
        facts, limits = self.facts, self.limits
        measured: dict[str, Any] = {}
        if facts is not None:
            names = ("size_bytes", "width", "height", "fps", "loudest")
            measured = {name: getattr(facts, name) for name in names}
        found = limits.breaches(self.label, seconds=self.seconds, **measured)
        for rule, message, use in found:
            most_s = limits.seconds[1]
            if ended_by and facts is not None and facts.seconds > most_s:
                most = f"at most {most_s * 1000:g}"
                use = f"{ended_by} to send its beginning alone: milliseconds, {most}"
            yield Fault(self.field, rule, message, use, limits.source)

    def shown(self) -> str:
        """The medium in a few words, for a receipt."""
        if self.facts is None:
            return self.label if self.seconds is None else f"{self.label}, {self.seconds:.4g} s"
        size = f" {self.facts.width}x{self.facts.height}" if self.facts.width else ""
        return f"{self.label}{size}, {self.facts.seconds:.4g} s"

    def close(self) -> None:
        """Release the file; twice is harmless."""
        if self.held is not None:
            self.held.let_go(self.field)


def _form(limits: MediaLimits) -> str:
    """The forms in which it can be given; the video of a task where a video is taken."""
    forms = "an https URL, a path, a file:// URL, a data: URI"
    last = ", base64 or kling://tasks/ID/video" if "MP4" in limits.formats else " or base64"
    return f"{forms}{last} of {limits.formats_text}"


def _policy_for(policy: PicturePolicy, limits: MediaLimits) -> PicturePolicy:
    """The policy for a sound or a video; a sound may be the track of a video."""
    kinds: tuple[FileType, ...] = (VIDEO,) if limits.noun == "video" else (SOUND,)
    if limits.noun == "sound" and {"MP4", "MOV"} & {*limits.formats}:
        kinds = (SOUND, VIDEO)
    form = _form(limits)
    elsewhere = f"an https URL, a data: URI or raw base64 of {limits.formats_text}"
    return replace(
        policy,
        noun=limits.noun,
        kinds=kinds,
        readable=kinds,
        forms=form,
        forms_elsewhere=elsewhere,
    )


async def open_media(
    wishes: Sequence[Wish], policy: PicturePolicy
) -> tuple[list[Medium | None], Verdict]:
    """An open `Medium` for every wish, or None for one with faults.

    A bad one raises nothing: the verdict holds all faults, and warnings about doubtful addresses.
    Files are read in a thread. Close every medium after it was sent, also if others have faults.
    """
    verdict = Verdict()
    media: list[Medium | None] = []
    with ExitStack() as undo:
        for wish in wishes:
            try:
                medium, warnings = await _opened(wish, _policy_for(policy, wish.limits))
            except Refusal as refusal:
                fault = refusal.fault(wish.field)
                form = _form(wish.limits)
                if fault.rule == "video_type" and wish.for_pictures:
                    fault = replace(fault, use=f"{fault.use}; or {wish.for_pictures}")
                verdict.faults.append(replace(fault, use=form) if fault.use == FORMS else fault)
                media.append(None)
                continue
            undo.callback(medium.close)
            verdict.warnings.extend(warnings)
            faults = list(medium.faults(wish.ended_by))
            verdict.faults.extend(faults)
            media.append(None if faults else medium)
            if faults:
                medium.close()
        undo.pop_all()
    return media, verdict


async def _opened(wish: Wish, policy: PicturePolicy) -> tuple[Medium, list[Fault]]:
    """The medium, and warnings about its address. Raises `Refusal`."""
    value = wish.value.strip()
    if policy.task_video and wish.limits.noun == "video" and (task := bare_task(value)):
        value = f"{task}/video"
    if is_address(value) and task_of(value) is not None:
        return await _of_task(wish, value, policy), []
    if is_address(value):
        taken = (await take_pictures([value], policy.of_tasks))[value]
        if isinstance(taken, Refusal):
            raise taken
        if taken.kind != "upload":
            raise Refusal(
                "task_video",
                f"{value[:80]} is a picture, no {policy.noun}.",
                VIDEO_URI.format(task_id="ID"),
            )
        return await policy.decoding.run(
            partial(_measured, wish, "upload", taken.held(), policy)
        ), []

    def opened() -> tuple[Medium, list[Fault]]:
        given = recognise(value, policy)
        if isinstance(given.content, PictureUrl):
            url = given.content
            sha256 = hashlib.sha256(url.text.encode()).hexdigest()
            warnings = [replace(warning, field=wish.field) for warning in url.warnings]
            return Medium(wish.field, "url", url.label, sha256, wish.limits, url=url.text), warnings
        return _measured(wish, given.kind, given.content, policy), []

    return await policy.decoding.run(opened)


def _measured(wish: Wish, kind: Kind, held: HeldFile, policy: PicturePolicy) -> Medium:
    """The medium in an open file, which it holds from now on."""
    held.hold(wish.field)
    try:
        facts = read_media(held, wish.limits, policy.decoding)
        sha256 = held.digest()
        if _is_cut(wish, facts):
            part = _beginning(held, facts.format, wish.ends_s or 0.0).hold(wish.field)
            held.let_go(wish.field)
            held = part
            facts = read_media(held, wish.limits, policy.decoding)
    except SourceChanged as changed:
        held.let_go(wish.field)
        again = f"the {policy.noun} again when it is finished"
        raise Refusal(f"{policy.noun}_changed", f"{changed}.", again) from changed
    except BaseException:
        held.let_go(wish.field)
        raise
    return Medium(
        wish.field,
        kind,
        held.label,
        sha256,
        wish.limits,
        facts.seconds,
        facts,
        held=held,
        bytes_sha256=sha256,
    )


def _is_cut(wish: Wish, facts: MediaFacts) -> bool:
    """Whether only its beginning can be sent, and is wished."""
    longest_s, longest_bytes = wish.limits.seconds[1], wish.limits.mb * 2**20
    too_long = facts.seconds > longest_s + SLACK_S or facts.size_bytes > longest_bytes
    return wish.ends_s is not None and too_long and facts.seconds > wish.ends_s


async def _of_task(wish: Wish, address: str, policy: PicturePolicy) -> Medium:
    """The video of a task. Its saved file tells its facts; without one the provider's word counts.
    A sound cannot be fetched from it at an address that names a video alone."""
    if "MP4" not in wish.limits.formats:
        raise Refusal(
            f"{policy.noun}_type",
            f"{address[:80]} is a video; Kling takes {wish.limits.formats_text} here.",
            _form(wish.limits),
            wish.limits.source,
        )
    if policy.task_video is None:
        raise Refusal("task_video", "there are no tasks here to take a video from.")
    try:
        found = await policy.task_video(address)
    except KlingError as error:
        raise Refusal("task_video", f"{error.message} {error.next}".strip()) from error
    return await policy.decoding.run(partial(_of_found, wish, found, policy))


TOLD_SIDE_PX = 720
"""The shorter side of the smallest video that Kling makes."""


def _as_told(facts: MediaFacts) -> MediaFacts:
    """The facts of a sandbox's video in the size of the one that Kling would have made: a sandbox
    may draw it smaller."""
    short = min(facts.width, facts.height)
    if not 0 < short < TOLD_SIDE_PX:
        return facts
    scale = TOLD_SIDE_PX / short
    return replace(facts, width=round(facts.width * scale), height=round(facts.height * scale))


def _of_found(wish: Wish, found: TaskVideo, policy: PicturePolicy) -> Medium:
    facts, seconds = None, found.seconds
    if found.file is not None:
        measured = _measured(wish, "task", found.file, policy)
        facts, seconds = measured.facts, measured.seconds
    if found.sandbox and facts is not None:
        facts = _as_told(facts)
    return Medium(
        wish.field,
        "task",
        found.label,
        found.sha256,
        wish.limits,
        seconds if seconds is None or math.isfinite(seconds) else None,
        facts,
        url=found.url,
        held=found.file,
        made_here=found.sandbox,
    )
