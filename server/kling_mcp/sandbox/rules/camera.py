"""The camera's move: `camera_control`."""

from __future__ import annotations

from kling_mcp.sandbox.fields import Fields
from kling_mcp.sandbox.order import CameraWish
from kling_mcp.sandbox.refusals import refused
from kling_mcp.sandbox.rules.shared import Variant

__all__ = ["camera_wish"]

_AXES = ("horizontal", "vertical", "pan", "tilt", "roll", "zoom")
_PRESETS = ("down_back", "forward_up", "right_turn_forward", "left_turn_forward")
_REACH = 10.0


def camera_wish(fields: Fields, what: Variant) -> CameraWish | None:
    """The move asked for, None for none; raises `Refusal`.

    A model or combination without it gets the text that was seen live.
    """
    camera = fields.object("camera_control")
    if camera is None:
        return None
    kind = camera.choice("type", ("simple", *_PRESETS), "")
    if not kind:
        raise camera.refuse("type")
    allowed = what.row.allows(what.row.camera, what.mode, what.duration)
    if not allowed or kind not in what.row.camera_types:
        raise refused("camera_unsupported")
    config = camera.object("config")
    if kind != "simple":
        if "config" in camera:
            raise camera.refuse("config")
        return CameraWish(kind)
    values = {axis: config.number(axis, -_REACH, _REACH) for axis in _AXES} if config else {}
    turned = {axis: value for axis, value in values.items() if value}
    if len(turned) != 1:
        raise refused("camera_config")
    ((axis, value),) = turned.items()
    return CameraWish(kind, axis, value)
