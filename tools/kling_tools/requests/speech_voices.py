"""The voices that speak texts: names, ids and languages. They are not those of `kling_list_assets`.

Source: the list of Kling's page of lip-sync as clients of others carry it, among them ComfyUI's
nodes (2026-09).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Literal, NamedTuple

__all__ = [
    "VOICES",
    "Spoken",
    "is_chinese",
    "languages_in",
    "languages_of",
    "letters_of",
    "letters_within",
    "spoken",
    "voice_id",
    "voice_name",
    "voices_text",
]

Language = Literal["en", "zh"]

_ENGLISH = {
    "Melody": "girlfriend_4_speech02",
    "Sunny": "genshin_vindi2",
    "Sage": "zhinen_xuesheng",
    "Ace": "AOT",
    "Blossom": "ai_shatang",
    "Peppy": "genshin_klee2",
    "Dove": "genshin_kirara",
    "Shine": "ai_kaiya",
    "Anchor": "oversea_male1",
    "Lyric": "ai_chenjiahao_712",
    "Tender": "chat1_female_new-3",
    "Siren": "chat_0407_5-1",
    "Zippy": "cartoon-boy-07",
    "Bud": "uk_boy1",
    "Sprite": "cartoon-girl-01",
    "Candy": "PeppaPig_platform",
    "Beacon": "ai_huangzhong_712",
    "Rock": "ai_huangyaoshi_712",
    "Titan": "ai_laoguowang_712",
    "Grace": "chengshu_jiejie",
    "Helen": "you_pingjing",
    "Lore": "calm_story1",
    "Crag": "uk_man2",
    "Prattle": "laopopo_speech02",
    "Hearth": "heainainai_speech02",
    "The Reader": "reader_en_m-v1",
    "Commercial Lady": "commercial_lady_en_f-v1",
}
_CHINESE = (
    *("genshin_vindi2", "zhinen_xuesheng", "tiyuxi_xuedi", "ai_shatang", "genshin_klee2"),
    *("genshin_kirara", "ai_kaiya", "tiexin_nanyou", "ai_chenjiahao_712", "girlfriend_1_speech02"),
    *("chat1_female_new-3", "girlfriend_2_speech02", "cartoon-boy-07", "cartoon-girl-01"),
    *("ai_huangyaoshi_712", "you_pingjing", "ai_laoguowang_712", "chengshu_jiejie"),
    *("zhuxi_speech02", "uk_oldman3", "laopopo_speech02", "heainainai_speech02"),
    *("dongbeilaotie_speech02", "chongqingxiaohuo_speech02", "chuanmeizi_speech02"),
    *("chaoshandashu_speech02", "ai_taiwan_man2_speech02", "xianzhanggui_speech02"),
    *("tianjinjiejie_speech02", "diyinnansang_DB_CN_M_04-v2", "yizhipiannan-v1"),
    *("guanxiaofang-v2", "tianmeixuemei-v1", "daopianyansang-v1", "mengwa-v1"),
)

VOICES: Mapping[Language, tuple[str, ...]] = {"en": tuple(_ENGLISH.values()), "zh": _CHINESE}
"""The ids of the voices of each language."""

_BY_NAME = {name.lower(): voice for name, voice in _ENGLISH.items()}
_BY_ID = {voice.lower(): voice for voices in VOICES.values() for voice in voices}


def voice_id(said: str) -> str:
    """The id of a voice that is named or written in any case; any other text as it is."""
    return _BY_NAME.get(said.lower()) or _BY_ID.get(said.lower(), said)


def languages_of(voice: str) -> list[Language]:
    """The languages that the voice with this id speaks; none for an unknown one."""
    return [language for language, voices in VOICES.items() if voice in voices]


_WOMEN = frozenset(
    [
        "girlfriend_4_speech02",
        "chat1_female_new-3",
        "cartoon-girl-01",
        "chengshu_jiejie",
        "laopopo_speech02",
        "heainainai_speech02",
        "commercial_lady_en_f-v1",
        "girlfriend_1_speech02",
        "girlfriend_2_speech02",
        "chuanmeizi_speech02",
        "tianjinjiejie_speech02",
        "tianmeixuemei-v1",
    ]
)
_MEN = frozenset(
    [
        "oversea_male1",
        "uk_boy1",
        "cartoon-boy-07",
        "uk_man2",
        "reader_en_m-v1",
        "tiyuxi_xuedi",
        "tiexin_nanyou",
        "ai_laoguowang_712",
        "ai_huangzhong_712",
        "ai_huangyaoshi_712",
        "uk_oldman3",
        "dongbeilaotie_speech02",
        "chongqingxiaohuo_speech02",
        "chaoshandashu_speech02",
        "ai_taiwan_man2_speech02",
        "diyinnansang_DB_CN_M_04-v2",
    ]
)
"""The voices whose ids say that they are women's (or girls'), or men's (or boys')."""

_NAMES = {voice: name for name, voice in _ENGLISH.items()}


def voice_name(voice: str) -> str:
    """The name of the voice with this id; the id where it has none."""
    return _NAMES.get(voice, voice)


def voices_text(languages: Collection[Language]) -> str:
    """All voices that speak these languages: women's, men's, and those of which nothing says it."""
    of_first, *of_others = (VOICES[language] for language in languages)
    able = [voice for voice in of_first if all(voice in other for other in of_others)]
    groups = {
        "women": [voice for voice in able if voice in _WOMEN],
        "men": [voice for voice in able if voice in _MEN],
        "others": [voice for voice in able if voice not in _WOMEN | _MEN],
    }
    return "; ".join(
        f"{', '.join(map(voice_name, voices))} ({kind})"
        for kind, voices in groups.items()
        if voices
    )


def is_chinese(letter: str) -> bool:
    """Whether the letter is a Chinese character."""
    return "\u4e00" <= letter <= "\u9fff"


_LATIN_WORD = re.compile(r"[A-Za-z]{2,}")


def languages_in(text: str) -> list[Language]:
    """The languages of which a text has letters: one at least."""
    chinese = any(map(is_chinese, text))
    found: list[Language] = ["en"] if _LATIN_WORD.search(text) or not chinese else []
    return [*found, "zh"] if chinese else found


def letters_of(text: str) -> int:
    """The letters of a text; a Chinese character is spoken as long as three."""
    return sum(3 if is_chinese(letter) else 1 for letter in text)


class Spoken(NamedTuple):
    """The seconds that a text can last: surely no less than `least` and no more than `most`,
    mostly between `short` and `long`, usually `likely`."""

    least: float
    short: float
    likely: float
    long: float
    most: float


_FAST, _BRISK, _USUAL, _CALM, _SLOW = 21.0, 18.0, 14.0, 10.0, 7.0
"""Letters that voices speak in a second, from the fastest to the slowest. English is read aloud
with about 14, Chinese with between four and five characters."""

_PAUSE_S = 0.5
"""Seconds before and after a speech, at most."""

_OF_A_DIGIT = 5
"""Letters of a digit in words, beside itself."""


def spoken(text: str, speed: float | None = None) -> Spoken:
    """How long the text lasts at this `voice_speed`."""
    times = speed or 1.0
    letters = letters_of(text)
    in_words = letters + _OF_A_DIGIT * sum(map(str.isdecimal, text))
    return Spoken(
        letters / _FAST / times,
        letters / _BRISK / times,
        (letters + in_words) / 2 / _USUAL / times,
        in_words / _CALM / times,
        in_words / _SLOW / times + _PAUSE_S,
    )


def letters_within(seconds: float, speed: float | None = None) -> int:
    """The letters that can be spoken in so many seconds with some time to spare."""
    return max(0, int(seconds * _CALM * (speed or 1.0)))
