"""Several shots in one video: `multi_shot`, `shot_type` and `multi_prompt`."""

from __future__ import annotations

from dataclasses import dataclass

from kling_mcp.sandbox.fields import Fields
from kling_mcp.sandbox.refusals import refused
from kling_mcp.sandbox.rules.shared import Variant

__all__ = ["Shots", "shots_of"]

MAX_SHOTS = 6
SHOT_PROMPT_LIMIT = 512
_OWN_SHOT_S = 3


@dataclass(frozen=True, slots=True)
class Shots:
    """The seconds of each shot, none for one unbroken take; `customized` by the caller's list."""

    seconds: tuple[int, ...] = ()
    customized: bool = False


def shots_of(fields: Fields, what: Variant) -> Shots:
    """The shots asked for; raises `Refusal`."""
    if not fields.flag("multi_shot"):
        for name in ("shot_type", "multi_prompt"):
            if name in fields:
                raise refused("shots_off", field=name)
        return Shots()
    if not what.row.multi_shot:
        raise refused("unsupported", field="multi_shot")
    if fields.choice("shot_type", ("customize", "intelligence"), "") == "":
        raise fields.refuse("shot_type")
    if fields.value("shot_type") == "intelligence":
        return Shots(_even(what.duration))
    prompts = fields.objects("multi_prompt", 1, MAX_SHOTS)
    if not prompts:
        raise refused("too_many", field="multi_prompt", least=1, most=MAX_SHOTS)
    seconds = []
    for place, shot in enumerate(prompts, start=1):
        if shot.whole("index") != place:
            raise refused("shots_order")
        if not shot.text("prompt", SHOT_PROMPT_LIMIT).strip():
            raise shot.refuse("prompt")
        seconds.append(shot.seconds("duration", range(1, what.duration + 1)))
    if sum(seconds) != what.duration:
        raise refused("shots_sum")
    return Shots(tuple(seconds), customized=True)


def _even(duration: int) -> tuple[int, ...]:
    """The sandbox's own cut: shots of about three seconds, the first ones a second longer."""
    count = max(1, min(MAX_SHOTS, duration // _OWN_SHOT_S))
    short, longer = divmod(duration, count)
    return tuple(short + (place < longer) for place in range(count))
