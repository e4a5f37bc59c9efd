"""What one accepted request asks for, in a form that the state file keeps."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from kling_mcp.sandbox.capability import MODELS, Product

__all__ = ["CameraWish", "Order", "Picture"]

SHORT_SIDE_PX: dict[str, int] = {"std": 720, "pro": 1080, "4k": 2160, "": 1080}
"""By mode (Kling's image2video page); the master models, which have none, make 1080p."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture as it came: an address, or the name of a file on the sandbox's shelf.

    `width` and `height` are px, 0 for an address; `name` is `<sha256>.<png or jpg>`.
    """

    url: str = ""
    name: str = ""
    width: int = 0
    height: int = 0


@dataclass(frozen=True, slots=True)
class CameraWish:
    """`camera_control`: a type, and for `simple` the axis that is not 0 with its value."""

    kind: str
    axis: str = ""
    value: float = 0.0


@dataclass(frozen=True, slots=True)
class Order:
    """One video to be made.

    `duration` and `shots` are seconds, `aspect_ratio` is width by height (None: the picture's),
    `flaw` is why the task will fail, empty when it will not.
    """

    product: Product
    model: str
    mode: str
    duration: int
    prompt: str = ""
    pictures: tuple[Picture, ...] = ()
    tail: Picture | None = None
    aspect_ratio: float | None = None
    sound: bool = False
    voice: bool = False
    camera: CameraWish | None = None
    shots: tuple[int, ...] = ()
    watermark: bool = False
    external_task_id: str = ""
    callback_url: str = ""
    flaw: str = ""

    @property
    def units(self) -> float:
        """What the video costs when it succeeds."""
        row = MODELS[self.model]
        return row.price(self.mode, self.duration, sound=self.sound, voice=self.voice)

    @property
    def short_side(self) -> int:
        """The shorter side of the video in px."""
        return SHORT_SIDE_PX[self.mode]

    def to_json(self) -> dict[str, Any]:
        """The order as JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Order:
        """The order that `to_json` gave."""
        camera, tail = values["camera"], values["tail"]
        return cls(
            **{
                **values,
                "pictures": tuple(Picture(**picture) for picture in values["pictures"]),
                "tail": Picture(**tail) if tail else None,
                "camera": CameraWish(**camera) if camera else None,
                "shots": tuple(values["shots"]),
            }
        )
