"""The voices that speak texts: names, ids and languages. They are not those of `kling_list_assets`.

Source: the list of Kling's page of lip-sync as clients of others carry it, among them ComfyUI's
nodes (2026-09).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

__all__ = ["VOICES", "languages_of", "voice_id", "voices_in"]

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


def voices_in(language: Language) -> list[str]:
    """All voices of a language, the best known first: names, or ids where most have none."""
    return list(_ENGLISH if language == "en" else _CHINESE)
