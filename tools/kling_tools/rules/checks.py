"""Checks of sums and references, which no table row can express: shots, voices, camera, URLs.

Each check takes a request and yields its faults. The table `CHECKS` names the fields of each check,
which keeps silent while one of them is unreadable.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from kling_tools.faults import Fault, Verdict
from kling_tools.products import rules_of_others
from kling_tools.requests.drafts import Draft
from kling_tools.requests.fields import Shot
from kling_tools.requests.requests import (
    REFERENCE,
    ImageToVideoRequest,
    LipSyncRequest,
    Request,
    ShotsRequest,
    SpeakingRequest,
)
from kling_tools.requests.speech_voices import (
    languages_in,
    languages_of,
    letters_of,
    letters_within,
    spoken,
    voice_name,
    voices_text,
)
from kling_tools.rules.media_limits import SLACK_S

__all__ = [
    "CHECKS",
    "apply_checks",
    "fitted_shots",
    "lengths_fit",
    "shots_in_prompt",
    "speech_fits",
    "total_seconds",
]

LEAST_S, MOST_S = 3, 15
"""The seconds of the shortest and the longest video that a model of Kling makes."""

SHOT_IN_PROMPT = re.compile(r"\s*shot\s+(\d{1,3})\s*,\s*(\d{1,3})\s*,([^;]*)(?:;|$)", re.IGNORECASE)
MOST_SHOTS, SHOT_CHARACTERS = 6, 512
"""Of the shots in a prompt [Kling's pages of the new standard, 2026-09-20]."""

VOICE_TOKEN = re.compile(r"<<<\s*voice_(\d+)\s*>>>")


def shots_add_up(request: ShotsRequest) -> Iterator[Fault]:
    """The durations of the shots add up to the duration of the video (S2)."""
    if not request.multi_prompt:
        return
    shots, asked = request.multi_prompt, int(request.duration)
    total = total_seconds(shots)
    if total == asked:
        return
    ways = [f'duration "{total}"'] if LEAST_S <= total <= MOST_S else []
    if len(shots) <= asked:
        ways.append(f"shots of {', '.join(s.duration for s in fitted_shots(shots, asked))} s")
    message = f"the shots last {total} s together, duration is {asked} s."
    yield Fault("multi_prompt", "shots_add_up", message, ", or ".join(ways), "S2")


def total_seconds(shots: Sequence[Shot]) -> int:
    """The seconds of all shots together."""
    return sum(int(shot.duration) for shot in shots)


def fitted_shots(shots: Sequence[Shot], seconds: int) -> list[Shot]:
    """The shots with durations that add up to `seconds`, in their proportions. Each lasts at least
    one second, so there must be at most as many shots as seconds."""
    total, ends, passed = total_seconds(shots), [0], 0
    for place, shot in enumerate(shots, start=1):
        passed += int(shot.duration)
        left = len(shots) - place
        ends.append(min(max(round(passed * seconds / total), ends[-1] + 1), seconds - left))
    return [
        shot.model_copy(update={"duration": str(ends[place + 1] - ends[place])})
        for place, shot in enumerate(shots)
    ]


def shots_in_prompt(request: ShotsRequest) -> Iterator[Fault]:
    """A prompt that begins as Kling's shots do, `shot n, seconds, words;`, is nothing but shots:
    numbered from 1, and together as long as the video (the new standard, which reads them)."""
    prompt, at = request.prompt, 0
    seconds: list[int] = []
    if not SHOT_IN_PROMPT.match(prompt):
        return
    fault = ""
    while not fault and prompt[at:].strip():
        shot, place = SHOT_IN_PROMPT.match(prompt, at), len(seconds) + 1
        if place > MOST_SHOTS:
            fault = f"it has more than {MOST_SHOTS} shots."
        elif shot is None:
            fault = f"what follows shot {place - 1} is no shot."
        elif int(shot[1]) != place:
            fault = f"its shot {place} has the number {int(shot[1])}."
        elif not int(shot[2]):
            fault = f"its shot {place} lasts 0 s."
        elif not 1 <= len(shot[3].strip()) <= SHOT_CHARACTERS:
            fault = f"its shot {place} requires 1 to {SHOT_CHARACTERS} characters of words."
        else:
            seconds.append(int(shot[2]))
            at = shot.end()
    total, asked = sum(seconds), int(request.duration)
    if not fault and total != asked:
        fault = f"its shots last {total} s together, duration is {asked} s."
        way = f'duration "{total}"' if LEAST_S <= total <= MOST_S else ""
        use = ", or ".join(filter(None, (way, f"shots of {asked} s together")))
    else:
        use = "shot 1, 3, words; shot 2, 2, words; or words that do not begin so"
    if fault:
        message = f"Kling reads a prompt that begins so as shots, but {fault}"
        yield Fault("prompt", "shots_in_prompt", message, use, "3.0 pages of the new standard")


def shots_in_order(request: ShotsRequest) -> Iterator[Fault]:
    """Shots are numbered from 1, in order (S2's examples; S4)."""
    indexes = [shot.index for shot in request.multi_prompt]
    expected = list(range(1, len(indexes) + 1))
    if indexes != expected:
        yield Fault(
            "multi_prompt",
            "shots_in_order",
            f"indexes are {indexes}.",
            f"{expected}, or leave all indexes out",
            "S2",
        )


def voices_are_spoken(request: ImageToVideoRequest) -> Iterator[Fault]:
    """Voice tokens name a place in voice_list, each voice is named, and sound is on (S2)."""
    texts = [request.prompt, *(shot.prompt for shot in request.multi_prompt)]
    named = {int(n) for text in texts for n in VOICE_TOKEN.findall(text)}
    count = len(request.voice_list)
    for number in sorted(n for n in named if not 1 <= n <= count):
        yield Fault(
            "voice_list",
            "voice_token_unknown",
            f"the prompt names <<<voice_{number}>>>, voice_list has {count}.",
            "a voice id for each token, or no token",
            "S2",
        )
    for number in (n for n in range(1, count + 1) if n not in named):
        yield Fault(
            "prompt",
            "voice_token_missing",
            f"voice {number} of voice_list does not speak.",
            f'<<<voice_{number}>>> where it speaks: the man<<<voice_{number}>>> says: "Hello"',
            "S2",
        )
    if named and not count and request.sound != "on":
        yield Fault("sound", "voices_need_sound", "voice tokens need sound.", '"on"', "S2")


def camera_moves_once(request: ImageToVideoRequest) -> Iterator[Fault]:
    """Type `simple` moves in exactly one way, a preset takes no settings (S2)."""
    camera = request.camera_control
    if camera is None:
        return
    shown = ", ".join(f"{name} {value:g}" for name, value in camera.moves.items()) or "none"
    if camera.type == "simple" and len(camera.moves) != 1:
        message = f"with type simple exactly one value differs from 0, here: {shown}."
        yield Fault("camera_control.config", "camera_moves_once", message, '{"zoom": 5}', "S2")
    if camera.type != "simple" and camera.moves:
        message = f"{camera.type} is a fixed move without settings, here: {shown}."
        use = "no config, or type simple"
        yield Fault("camera_control.config", "camera_preset_takes_no_config", message, use, "S2")


def references_are_there(request: Request) -> Iterator[Fault]:
    """Tokens name a place in image_list or element_list, or the video (the pages of omni-video
    and omni-image)."""
    counts = request.references()
    named = {(match[1], int(match[2])) for match in REFERENCE.finditer(request.prompt)}
    for kind, number in sorted(named):
        count = counts.get(kind, 0)
        if not 1 <= number <= count:
            has = f"{kind}_list has {count}"
            if kind == "video":
                has = "there is one" if count else "there is none"
            yield Fault(
                "prompt",
                f"{kind}_token_unknown",
                f"it names <<<{kind}_{number}>>>, {has}.",
                "a number of the list, counted from 1" if counts.get(kind) else "plain words",
                "omni-video page",
            )


SPOKEN: Mapping[str, str] = {"en": "English", "zh": "Chinese"}


def a_voice_speaks(request: SpeakingRequest) -> Iterator[Fault]:
    """A text has a voice, and it is one of those that speak texts (the lip-sync page)."""
    known = languages_of(request.voice_id)
    if not request.text or known:
        return
    message = "is required: a text is spoken in a voice."
    if request.voice_id:
        message = (
            f"{request.voice_id} is no voice that speaks texts; those of kling_list_assets speak "
            "in videos of kling-v2-6 alone."
        )
    use = voices_text(languages_in(request.text))
    yield Fault("voice_id", "a_voice_speaks", message, use, "lip-sync page")


def a_voice_of_its_language(request: SpeakingRequest) -> Iterator[Fault]:
    """A voice speaks the language of its text (the lip-sync page)."""
    known, language = languages_of(request.voice_id), request.language
    if not request.text or not known or language in known:
        return
    spoken_by = " and ".join(SPOKEN[name] for name in known)
    text = languages_in(request.text)
    both = "English and Chinese in one, so a voice of both fits" if len(text) > 1 else ""
    name, of_text = voice_name(request.voice_id), both or SPOKEN[language]
    message = f"{name} speaks {spoken_by}, the text is {of_text}."
    use = voices_text(text)
    yield Fault("voice_id", "a_voice_of_its_language", message, use, "lip-sync page")


LEAST_SPOKEN_S = 2.0
"""The seconds of the part of a sound that a face speaks, at least [lip-sync and avatar pages]."""


def speech_fits(
    request: SpeakingRequest, video_s: float | None, *, surely: bool = True
) -> Iterator[Fault]:
    """A fault of a text that surely cannot be spoken within what Kling takes and the video lasts;
    else, without `surely`, one of a text that perhaps cannot (the lip-sync page)."""
    text, speed = request.text, request.voice_speed
    lasts = spoken(text, speed)
    at_s = (getattr(request, "sound_insert_time", None) or 0) / 1000
    room = min(video_s or request.longest_s, request.longest_s) - at_s
    after = f" and it begins after {at_s:.4g} s" if at_s else ""
    holds = (
        f"the video {video_s:.4g} s{after}"
        if video_s
        else f"Kling takes 2 to {request.longest_s:g} s{after}"
    )
    shortest, longest = (lasts.least, lasts.most) if surely else (lasts.short, lasts.long)
    too_long, too_short = room + SLACK_S, LEAST_SPOKEN_S - SLACK_S
    end_ms = getattr(request, "sound_end_time", None)
    if end_ms is not None:
        if end_ms / 1000 > (lasts.most if surely else lasts.short) + SLACK_S:
            message = f"the text lasts {'at most' if surely else 'perhaps only'} "
            message += f"{lasts.most if surely else lasts.short:.2g} s."
            rule = "sound_ends_before" if surely else "sound_perhaps_ends_before"
            yield Fault("sound_end_time", rule, message, "no sound_end_time", "lip-sync page")
        too_long = math.inf
    about = f"it may last {lasts.short:.2g} to {lasts.long:.2g} s, about {lasts.likely:.2g}"
    cut = getattr(request, "sound_end_time", None) is not None
    if not cut and (shortest if surely else longest) > too_long:
        message = f"{about}; {holds}."
        if surely:
            message = f"it would last more than {lasts.least:.3g} s, {holds}."
        fitting = letters_within(room, speed)
        use = f"about {fitting} of its {letters_of(text)} letters"
        if (speed or 1.0) < FASTEST_SPEED:
            use += ", or a higher voice_speed (up to 2)"
        if at_s:
            use += ", or a lower sound_insert_time"
        use = f"fewer words: {use}" if fitting >= LEAST_LETTERS else "a longer video"
        rule = "speech_too_long" if surely else "speech_perhaps_too_long"
        yield Fault("text", rule, message, use, "lip-sync page")
    elif (longest if surely else shortest) < too_short:
        message = f"{about}; Kling takes 2 s at least."
        if surely:
            message = (
                f"it would last less than {max(lasts.most, 1):.2g} s; Kling takes 2 s at least."
            )
        rule = "speech_too_short" if surely else "speech_perhaps_too_short"
        yield Fault("text", rule, message, "more words", "lip-sync page")


FASTEST_SPEED, LEAST_LETTERS = 2.0, 20
"""The highest `voice_speed`, and the letters of a speech that is long enough [lip-sync page]."""


def lengths_fit(request: Request, known: Mapping[str, float | None]) -> Iterator[Fault]:
    """Faults of the lengths of the media together, and of the speech ("text"), in seconds; None for
    an unknown one (the lip-sync page). What is not known passes; an estimate stands for a speech
    that is not known."""
    part = _lip_part(request, known) if isinstance(request, LipSyncRequest) else None
    if part:
        yield part
    elif isinstance(request, SpeakingRequest) and request.text:
        yield from _text_fits(request, known)


def _text_fits(request: SpeakingRequest, known: Mapping[str, float | None]) -> Iterator[Fault]:
    lasts, video = known.get("text"), known.get("video")
    if lasts is None:
        yield from speech_fits(request, video)
        return
    at_s = (getattr(request, "sound_insert_time", None) or 0) / 1000
    cut = getattr(request, "sound_end_time", None) is not None
    room = min(video or request.longest_s, request.longest_s) - at_s
    if lasts < LEAST_SPOKEN_S - SLACK_S or (not cut and lasts > room + SLACK_S):
        after = f" from {at_s:.4g} s on" if at_s else ""
        message = f"The text lasts {lasts:.3g} s; 2 to {room:.4g} s fit here{after}."
        use = "more words" if lasts < LEAST_SPOKEN_S else "fewer words or a higher voice_speed"
        if at_s and lasts > room:
            use += ", or a lower sound_insert_time"
        yield Fault("text", "speech_fits", message, use, "lip-sync page")


def _lip_part(request: LipSyncRequest, known: Mapping[str, float | None]) -> Fault | None:
    """The fault of the part of a sound that a face of a video is to speak; None without one."""
    if not request.text and not request.sound_file:
        return None
    source, video = "lip-sync page", known.get("video")
    what = "text" if request.text else "sound"
    whole = known.get("text" if request.text else "sound_file")
    at_s, end_ms = (request.sound_insert_time or 0) / 1000, request.sound_end_time
    part = whole if end_ms is None else end_ms / 1000
    if video is not None and at_s and at_s > video - LEAST_SPOKEN_S + SLACK_S:
        message = f"after {at_s:.4g} s less than 2 s of the video are left: it lasts {video:.4g} s."
        use = f"{max(int((video - LEAST_SPOKEN_S) * 1000), 0)} or less"
        return Fault("sound_insert_time", "sound_begins_late", message, use, source)
    if part is None:
        message = "is required: Kling fetches the sound from its URL, so its length is not known."
        use = "the milliseconds that it lasts; or a local copy of it as sound_file"
        rule = "sound_end_unknown"
        return None if request.text else Fault("sound_end_time", rule, message, use, source)
    if whole is not None and part > whole + SLACK_S:
        message = f"the {what} ends after {whole * 1000:.0f} ms."
        return Fault("sound_end_time", "sound_ends_before", message, "no sound_end_time", source)
    if request.text and end_ms is None:
        return None
    if not LEAST_SPOKEN_S - SLACK_S <= part <= request.longest_s + SLACK_S:
        message = f"the {what} would last {part:.4g} s; Kling takes 2 to 60 s."
        return Fault("sound_end_time", "sound_part", message, "another time", source)
    if video is None or at_s + part <= video + SLACK_S:
        return None
    longer = part > video + SLACK_S
    after = f", from {at_s:.4g} s on," if at_s else ""
    message = f"the {what} lasts {part:.4g} s{after} and the video {video:.4g} s."
    use = f"sound_end_time {int(video * 1000)}, or a longer video"
    if not longer:
        use = f"{int((video - part) * 1000)} or less"
    elif end_ms is not None:
        use = f"{int(video * 1000)} or less, or a longer video"
    field = "sound_insert_time" if not longer else "sound_end_time" if end_ms else "sound_file"
    return Fault(field, "sound_longer_than_video", message, use, source)


def callback_is_a_url(request: Request) -> Iterator[Fault]:
    """Kling posts to `callback_url`, which has to be reachable over HTTP."""
    if not request.callback_url:
        return
    try:
        parts = urlsplit(request.callback_url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        usable = False
    if not usable:
        yield Fault(
            "callback_url",
            "callback_is_a_url",
            "Kling can only call an http(s) URL.",
            "https://your.host/path, or leave it out and wait here",
            "S2",
        )


CHECKS: tuple[tuple[Callable[[Any], Iterator[Fault]], frozenset[str]], ...] = (
    (shots_add_up, frozenset({"multi_prompt", "duration"})),
    (shots_in_order, frozenset({"multi_prompt"})),
    (voices_are_spoken, frozenset({"prompt", "multi_prompt", "voice_list"})),
    (camera_moves_once, frozenset({"camera_control"})),
    (references_are_there, frozenset({"prompt", "image_list"})),
    (a_voice_speaks, frozenset({"text", "voice_id"})),
    (a_voice_of_its_language, frozenset({"text", "voice_id"})),
    (callback_is_a_url, frozenset({"callback_url"})),
)
"""Each check with the fields that it looks at. `products` says which requests it judges."""


def apply_checks(draft: Draft[Request]) -> Verdict:
    """The faults that the checks find in a request."""
    verdict = Verdict()
    others = rules_of_others(draft.arguments.products)
    for check, looks_at in CHECKS:
        if check.__name__ not in others and not looks_at & draft.invalid:
            verdict.faults.extend(check(draft.arguments))
    return verdict
