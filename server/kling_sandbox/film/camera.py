"""A camera in front of a flat picture: where it stands, and which part of the picture it sees."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

__all__ = [
    "ARRIVAL",
    "DEFAULT",
    "HOME",
    "SEQUENCE_MOVES",
    "SHOT_MOVES",
    "Move",
    "Pose",
    "box_of",
    "homography_of",
    "named_move",
    "reach_of",
    "simple_move",
]


Size = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Pose:
    """Where the camera stands; the default sees exactly the whole picture.

    `x` and `y` are shifts to the right and up in widths and heights of the frame, `zoom` the
    focal length as a factor (2 sees half the width), `yaw` (right), `pitch` (up) and `roll`
    (clockwise) are degrees.
    """

    x: float = 0.0
    y: float = 0.0
    zoom: float = 1.0
    yaw: float = 0.0
    pitch: float = 0.0
    roll: float = 0.0

    @property
    def level(self) -> bool:
        """Whether the camera looks straight ahead, so that its view is an upright box."""
        return self.yaw == self.pitch == self.roll == 0.0


HOME = Pose()


@dataclass(frozen=True, slots=True)
class Move:
    """A way from one pose to another, slow at both ends."""

    start: Pose = HOME
    end: Pose = HOME

    def at(self, part: float) -> Pose:
        """The pose after `part` (0 to 1, clamped) of the move."""
        t = min(max(part, 0.0), 1.0)
        eased = t * t * (3.0 - 2.0 * t)
        return Pose(
            *(
                getattr(self.start, axis.name) * (1.0 - eased)
                + getattr(self.end, axis.name) * eased
                for axis in fields(Pose)
            )
        )


def box_of(pose: Pose, size: Size) -> tuple[float, float, float, float]:
    """The part of the picture that a level camera sees: left, upper, right, lower in px."""
    width, height = size
    half_w, half_h = width / 2 / pose.zoom, height / 2 / pose.zoom
    centre_x, centre_y = width / 2 + pose.x * width, height / 2 - pose.y * height
    return centre_x - half_w, centre_y - half_h, centre_x + half_w, centre_y + half_h


def homography_of(pose: Pose, size: Size) -> tuple[tuple[float, ...], ...]:
    """The 3x3 matrix from frame px to picture px (both from the upper left corner).

    A pinhole camera whose focal length is the frame's longer side, so the picture hangs at that
    distance and the pose `HOME` maps every px to itself.
    """
    width, height = size
    focal = float(max(size))
    sin_y, cos_y = math.sin(math.radians(pose.yaw)), math.cos(math.radians(pose.yaw))
    sin_p, cos_p = math.sin(math.radians(pose.pitch)), math.cos(math.radians(pose.pitch))
    sin_r, cos_r = math.sin(math.radians(pose.roll)), math.cos(math.radians(pose.roll))
    turn = (
        (cos_y * cos_r + sin_y * sin_p * sin_r, -cos_y * sin_r + sin_y * sin_p * cos_r),
        (cos_p * sin_r, cos_p * cos_r),
        (-sin_y * cos_r + cos_y * sin_p * sin_r, sin_y * sin_r + cos_y * sin_p * cos_r),
    )
    ahead = (sin_y * cos_p, -sin_p, cos_y * cos_p)
    rays = [
        (
            across,
            down,
            ahead[row] * focal * pose.zoom - across * width / 2 - down * height / 2,
        )
        for row, (across, down) in enumerate(turn)
    ]
    at_x, at_y = width / 2 + pose.x * width, height / 2 - pose.y * height
    onto_x = tuple(focal * rays[0][i] + at_x * rays[2][i] for i in range(3))
    onto_y = tuple(focal * rays[1][i] + at_y * rays[2][i] for i in range(3))
    scale = rays[2][2]
    return tuple(tuple(value / scale for value in row) for row in (onto_x, onto_y, rays[2]))


def reach_of(move: Move, size: Size) -> tuple[float, float, float, float]:
    """How far beyond the picture the move looks: left, upper, right, lower in px, 0 for not."""
    width, height = size
    left = upper = right = lower = 0.0
    for step in range(9):
        matrix = homography_of(move.at(step / 8), size)
        for x, y in ((0, 0), (width, 0), (0, height), (width, height)):
            seen_x, seen_y, depth = (row[0] * x + row[1] * y + row[2] for row in matrix)
            left, right = max(left, -seen_x / depth), max(right, seen_x / depth - width)
            upper, lower = max(upper, -seen_y / depth), max(lower, seen_y / depth - height)
    return left, upper, right, lower


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
