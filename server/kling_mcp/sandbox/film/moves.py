"""The camera moves by name: Kling's own, the slow push when none is asked, and those of shots."""

from __future__ import annotations

from kling_mcp.sandbox.film.camera import HOME, Move, Pose

__all__ = ["ARRIVAL", "DEFAULT", "SEQUENCE_MOVES", "SHOT_MOVES", "named_move", "simple_move"]

DEFAULT = Move(HOME, Pose(zoom=1.12))
"""A gentle push-in: for when no camera move is asked."""

ARRIVAL = Move(Pose(zoom=1.06), HOME)
"""How an end frame comes to rest."""

_PER_UNIT: dict[str, Pose] = {
    "horizontal": Pose(x=0.02),
    "vertical": Pose(y=0.02),
    "pan": Pose(yaw=1.2),
    "tilt": Pose(pitch=1.2),
    "roll": Pose(roll=1.5),
}
"""What one unit of each axis of `camera_control.config` does; signs as Kling's image2video page."""

_ZOOM_PER_UNIT = 0.95
"""Positive zoom is a shorter focal length, so a wider view (Kling's image2video page)."""

_NAMED: dict[str, Pose] = {
    "down_back": Pose(y=-0.12, zoom=0.8),
    "forward_up": Pose(pitch=6.0, zoom=1.3),
    "right_turn_forward": Pose(yaw=9.0, zoom=1.3),
    "left_turn_forward": Pose(yaw=-9.0, zoom=1.3),
}
"""The four types of `camera_control` that take no config."""

SHOT_MOVES: tuple[Move, ...] = (
    DEFAULT,
    Move(Pose(x=-0.14, zoom=1.7), Pose(x=0.14, zoom=1.7)),
    Move(Pose(y=0.2, zoom=2.1), Pose(y=0.2, zoom=1.7)),
    Move(Pose(x=0.16, y=-0.14, zoom=1.6), Pose(x=0.16, y=0.14, zoom=1.6)),
    Move(Pose(zoom=1.45), Pose(zoom=1.05)),
    Move(Pose(x=0.18, y=-0.12, zoom=1.9), Pose(x=-0.18, y=-0.12, zoom=1.9)),
)
"""One per shot in turn; the views differ at every cut, the first shot starts on the whole."""

SEQUENCE_MOVES: tuple[Move, ...] = (
    DEFAULT,
    Move(Pose(x=-0.04, zoom=1.12), Pose(x=0.04, zoom=1.12)),
    Move(Pose(zoom=1.14), Pose(zoom=1.02)),
    Move(Pose(y=-0.04, zoom=1.12), Pose(y=0.04, zoom=1.12)),
)
"""One per picture in turn where several pictures follow each other."""


def simple_move(axis: str, value: float) -> Move:
    """The move of `camera_control` type `simple`: one axis, value in [-10, 10].

    Raises `KeyError` for an axis that is not one of Kling's six.
    """
    if axis == "zoom":
        return Move(HOME, Pose(zoom=_ZOOM_PER_UNIT**value))
    unit = _PER_UNIT[axis]
    turned = {name: getattr(unit, name) * value for name in ("x", "y", "yaw", "pitch", "roll")}
    return Move(HOME, Pose(**turned))


def named_move(kind: str) -> Move:
    """The move of one of the four presets; raises `KeyError` for another name."""
    return Move(HOME, _NAMED[kind])
