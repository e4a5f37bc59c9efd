"""Who speaks and who appears: `voice_list` and `element_list`."""

from __future__ import annotations

import re

from kling_mcp.sandbox.fields import Fields
from kling_mcp.sandbox.refusals import refused
from kling_mcp.sandbox.rules.shared import Variant

__all__ = ["check_elements", "has_voices"]

MAX_VOICES = 2
MAX_ELEMENTS = 3
ID_LIMIT = 256
_VOICE = re.compile(r"<<<voice_(\d+)>>>")


def has_voices(fields: Fields, what: Variant, prompt: str, *, sound: bool) -> bool:
    """Whether the video is billed with a named voice; raises `Refusal`.

    A voice needs sound, a place in the prompt, and no elements beside it (section 3).
    """
    voices = fields.objects("voice_list", 1, MAX_VOICES)
    named = {int(place) for place in _VOICE.findall(prompt)}
    if any(not 1 <= place <= len(voices) for place in named):
        raise fields.refuse("prompt")
    if not voices:
        return False
    if not ("*" in what.row.voices or what.mode in what.row.voices):
        raise refused("unsupported", field="voice_list")
    if "element_list" in fields:
        raise refused("voices_and_elements")
    for voice in voices:
        if not voice.text("voice_id", ID_LIMIT):
            raise voice.refuse("voice_id")
    if not sound:
        raise refused("voice_needs_sound")
    if not named:
        raise refused("voice_unnamed")
    return True


def check_elements(fields: Fields, what: Variant) -> None:
    """Judge `element_list`; raises `Refusal`. Ids are JSON integers, not strings."""
    elements = fields.objects("element_list", 1, MAX_ELEMENTS)
    if elements and not what.row.elements:
        raise refused("unsupported", field="element_list")
    for element in elements:
        if not 0 < element.whole("element_id") < 2**63:
            raise element.refuse("element_id")
