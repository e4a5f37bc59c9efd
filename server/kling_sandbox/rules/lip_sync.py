"""Rules of `lip-sync`: the faces of a video, speech of a text, and a face that speaks other words
(after Kling's pages of lip-sync and speech).
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

from kling_sandbox.answers.refusals import refused
from kling_sandbox.config import SandboxConfig
from kling_sandbox.orders import Face, GivenVideo, Order, OtherWords, Task
from kling_sandbox.pictures import PictureFiles
from kling_sandbox.rules.body_fields import Fields
from kling_sandbox.rules.motion import FRAME_S
from kling_sandbox.rules.shared import ID_LIMIT, URL_LIMIT, delivery, sound_in

__all__ = ["SESSION_S", "VOICES", "identify_face", "lip_sync", "speech"]

SESSION_S = 24 * 3600.0
"""Seconds for which the faces of a video can be named."""

UNSEEN_S = 10.0
"""What a video is taken to last that the sandbox cannot see."""

_ENGLISH = """
girlfriend_4_speech02 genshin_vindi2 zhinen_xuesheng AOT ai_shatang genshin_klee2 genshin_kirara
ai_kaiya oversea_male1 ai_chenjiahao_712 chat1_female_new-3 chat_0407_5-1 cartoon-boy-07 uk_boy1
cartoon-girl-01 PeppaPig_platform ai_huangzhong_712 ai_huangyaoshi_712 ai_laoguowang_712
chengshu_jiejie you_pingjing calm_story1 uk_man2 laopopo_speech02 heainainai_speech02
reader_en_m-v1 commercial_lady_en_f-v1
"""
_CHINESE = """
genshin_vindi2 zhinen_xuesheng tiyuxi_xuedi ai_shatang genshin_klee2 genshin_kirara ai_kaiya
tiexin_nanyou ai_chenjiahao_712 girlfriend_1_speech02 chat1_female_new-3 girlfriend_2_speech02
cartoon-boy-07 cartoon-girl-01 ai_huangyaoshi_712 you_pingjing ai_laoguowang_712 chengshu_jiejie
zhuxi_speech02 uk_oldman3 laopopo_speech02 heainainai_speech02 dongbeilaotie_speech02
chongqingxiaohuo_speech02 chuanmeizi_speech02 chaoshandashu_speech02 ai_taiwan_man2_speech02
xianzhanggui_speech02 tianjinjiejie_speech02 diyinnansang_DB_CN_M_04-v2 yizhipiannan-v1
guanxiaofang-v2 tianmeixuemei-v1 daopianyansang-v1 mengwa-v1
"""

VOICES = {"en": frozenset(_ENGLISH.split()), "zh": frozenset(_CHINESE.split())}
"""The voices that speak texts, by language (the same list in public nodes of other programs)."""

TEXT_LIMIT = 1000
_LEAST_S, _MOST_S = 2.0, 60.0
_SIDES = (512, 2160)
_LETTERS_PER_S, _SIGNS_PER_S = 14.0, 4.5
_SIGN = re.compile("[\u4e00-\u9fff]")

FindTask = Callable[[str], Task | None]


def identify_face(
    body: dict[str, Any], files: PictureFiles, config: SandboxConfig, made_clip: FindTask
) -> Order:
    """The order that finds the faces of a video: as many as the `faces` of its address or the words
    of its prompt say, else as pictures that it was made of. Raises `Refusal`."""
    fields = Fields(body)
    if ("video_id" in fields) == ("video_url" in fields):
        raise refused("video_source")
    if "video_id" in fields:
        clip = fields.text("video_id", ID_LIMIT)
        task = made_clip(clip)
        if task is None:
            raise refused("video_unknown", video_id=clip)
        video = GivenVideo("", task_id=task.task_id, seconds=task.order.frames / 24)
    else:
        url = fields.text("video_url", URL_LIMIT)
        if not url.startswith(("http://", "https://")):
            raise fields.refuse("video_url")
        video = files.find_video(url, config.clock())
    if video.broken:
        raise refused("video_format")
    if video.seconds and not _LEAST_S - FRAME_S <= video.seconds <= _MOST_S + FRAME_S:
        raise refused("video_length")
    sides = [side for side in (video.width, video.height) if side]
    if any(not _SIDES[0] <= side <= _SIDES[1] for side in sides):
        raise refused("video_sides")
    made = files.find_task(video.task_id) if video.task_id else None
    count = _asked_faces(video.url)
    if count is None:
        count = _faces_of(made.order) if made else 1
    lasts = round(video.seconds or UNSEEN_S, 3)
    faces = tuple(
        Face(f"{number}", 0.0, lasts, round((number + 1) / (count + 1), 3))
        for number in range(count)
    )
    return Order("identify-face", "", "", 0, looked_at=video, faces=faces)


_NUMBERS = {
    "no": 0,
    "without": 0,
    "one": 1,
    "two": 2,
    "three": 3,
    "four": 4,
    "five": 5,
    **{str(number): number for number in range(10)},
}
_PEOPLE = re.compile(
    rf"\b({'|'.join(_NUMBERS)})\s(?:\w+\s)?"
    r"(?:faces?|people|persons?|women|woman|men|man|girls?|boys?|friends|children|child|actors?)\b",
    re.IGNORECASE,
)
_NOBODY = re.compile(r"\b(?:nobody|no one|no-one)\b", re.IGNORECASE)


def _faces_of(order: Order) -> int:
    """The faces of a video that was made here."""
    if _NOBODY.search(order.prompt):
        return 0
    said = [_NUMBERS[number.lower()] for number in _PEOPLE.findall(order.prompt)]
    return min(sum(said), 9) if said else max(1, len(order.pictures))


def _asked_faces(url: str) -> int | None:
    asked = parse_qs(urlsplit(url).query).get("faces", [""])[0]
    return min(int(asked), 9) if asked.isdecimal() and len(asked) < 3 else None


def speech(body: dict[str, Any]) -> Order:
    """The order of a text's speech. Raises `Refusal`."""
    fields = Fields(body)
    text = fields.text("text", TEXT_LIMIT)
    if not text.strip():
        raise refused("label_missing", field="text")
    language = fields.choice("voice_language", tuple(VOICES), "zh")
    voice = fields.text("voice_id", ID_LIMIT)
    if voice not in VOICES[language]:
        raise refused("voice_unknown")
    speed = fields.number("voice_speed", 0.8, 2.0) or 1.0
    signs = len(_SIGN.findall(text))
    seconds = ((len(text) - signs) / _LETTERS_PER_S + signs / _SIGNS_PER_S) / speed
    whole = round(max(seconds, 0.5) * 1000)
    return Order("tts", "", "", 0, prompt=text, voice_id=voice, at_once_ms=whole)


def lip_sync(fields: Fields, files: PictureFiles, config: SandboxConfig) -> Order:
    """The order in the body. Raises `Refusal` at its first fault."""
    session_id = fields.text("session_id", ID_LIMIT)
    if not session_id:
        raise refused("label_missing", field="session_id")
    session = files.find_task(session_id)
    now = config.clock()
    if session is None or session.order.looked_at is None:
        raise refused("session_unknown")
    if now - session.created_at > SESSION_S:
        raise refused("session_expired")
    chosen = fields.objects("face_choose", 1, 1)
    if not chosen:
        raise refused("label_missing", field="face_choose")
    choice, video = chosen[0], session.order.looked_at
    said = choice.text("face_id", ID_LIMIT)
    face = next((face for face in session.order.faces if face.face_id == said), None)
    if face is None:
        raise choice.refuse("face_id")
    sound = sound_in(choice, files, now)
    begins, ends, at = (
        choice.whole(name) / 1000
        for name in ("sound_start_time", "sound_end_time", "sound_insert_time")
    )
    lasts = ends - begins
    if not lasts >= _LEAST_S - FRAME_S or (sound.seconds and ends > sound.seconds + FRAME_S):
        raise choice.refuse("sound_end_time")
    if video.seconds and at + lasts > video.seconds + FRAME_S:
        raise choice.refuse("sound_insert_time")
    if min(face.to_s, at + lasts) - max(face.from_s, at) < _LEAST_S - FRAME_S:
        raise refused("face_overlap")
    choice.number("sound_volume", 0.0, 2.0)
    original = choice.number("original_audio_volume", 0.0, 2.0)
    keeps = original if choice.value("original_audio_volume") is not None else 1.0
    return Order(
        product="lip-sync",
        model="kling-lip-sync",
        mode="",
        duration=math.ceil(lasts - FRAME_S),
        sound=True,
        flaw="The format of the input audio is invalid" if sound.broken else "",
        speech=sound,
        other_words=OtherWords(video, face, at, ends, keeps),
        **delivery(fields),
    )
