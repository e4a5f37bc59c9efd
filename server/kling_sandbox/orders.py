"""Orders and tasks: what an accepted request asks for, in the form of the state file."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from kling_sandbox.image_models import IMAGE_MODELS
from kling_sandbox.model_table import MODELS, TaskKind

__all__ = [
    "FPS",
    "Asset",
    "CameraControl",
    "Face",
    "GivenVideo",
    "Motion",
    "Order",
    "OtherWords",
    "Picture",
    "Reference",
    "Status",
    "Task",
]

FPS = 24
"""Frames per second of every video."""


SHORT_SIDE_PX: dict[str, int] = {"std": 720, "pro": 1080, "4k": 2160, "": 1080}
"""By mode (Kling's image2video page). The master models have no mode and make 1080p."""

ASSET_UNITS = {"element": 0.0, "voice": 0.05}
"""Units of a new element [live] or voice."""

AT_ONCE_UNITS = {"identify-face": 0.05, "tts": 0.05}
"""Units of what is answered at once [Kling's price page]."""

SPOKEN_PART_S = 5
"""A lip-sync is paid for each such part of its sound that has begun."""

OWNER = "1000001"
"""The account's number, as Kling writes it where something is the account's own."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture of a request: a URL, or the name of a file in the sandbox's folder.

    `width` and `height` are px, 0 for a URL; `name` is `<sha256>.<png or jpg>`.
    """

    url: str = ""
    name: str = ""
    width: int = 0
    height: int = 0


@dataclass(frozen=True, slots=True)
class CameraControl:
    """`camera_control`: a type, and for `simple` the one axis that moves, with its value."""

    kind: str
    axis: str = ""
    value: float = 0.0


@dataclass(frozen=True, slots=True)
class Asset:
    """An element or a voice: one that a request names, or the one that it makes.

    `pictures` are an element's, the frontal one first; `videos` are addresses. `voice` is the id of
    the voice that an element has. `tags` are ids such as "o_102". An id without a name is not
    looked up yet.
    """

    kind: Literal["element", "voice"]
    asset_id: str = ""
    name: str = ""
    description: str = ""
    pictures: tuple[Picture, ...] = ()
    videos: tuple[str, ...] = ()
    voice: str = ""
    voice_name: str = ""
    tags: tuple[str, ...] = ()
    owner: str = OWNER

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Asset:
        """The asset from JSON values."""
        pictures = tuple(Picture(**picture) for picture in values["pictures"])
        lists = {"videos": tuple(values["videos"]), "tags": tuple(values["tags"])}
        return cls(**{**values, **lists, "pictures": pictures})


@dataclass(frozen=True, slots=True)
class GivenVideo:
    """A video of a request: its address, and what is known of it. `name` is its file in the
    sandbox's folder, `task_id` the task that made it; without both it is elsewhere. `seconds` and
    px are 0 where they are not known. A `broken` one is no video."""

    url: str
    name: str = ""
    task_id: str = ""
    seconds: float = 0.0
    width: int = 0
    height: int = 0
    broken: bool = False


@dataclass(frozen=True, slots=True)
class Motion:
    """The video as which a figure moves, whom the figure faces as (`image` or `video`), and whether
    the video's sound is kept."""

    video: GivenVideo
    orientation: str
    keeps_sound: bool

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Motion:
        """The motion from JSON values."""
        return cls(**{**values, "video": GivenVideo(**values["video"])})


@dataclass(frozen=True, slots=True)
class Reference:
    """The video of an omni request: `base` is changed, `feature` is followed by a new one. Whether
    its sound is kept."""

    video: GivenVideo
    kind: Literal["base", "feature"]
    keeps_sound: bool

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Reference:
        """The reference from JSON values."""
        return cls(**{**values, "video": GivenVideo(**values["video"])})


@dataclass(frozen=True, slots=True)
class Face:
    """A face that was found in a video: its id, the seconds from when to when it is seen, and where
    it is, from 0 to 1 of the width."""

    face_id: str
    from_s: float
    to_s: float
    place: float = 0.5


@dataclass(frozen=True, slots=True)
class OtherWords:
    """A video of which a face speaks a sound from `at_s` on, up to `end_s` of the sound. `original`
    is how loud the video's own sound stays, from 0 to 2."""

    video: GivenVideo
    face: Face
    at_s: float
    end_s: float
    original: float = 1.0

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> OtherWords:
        """The words from JSON values."""
        video, face = GivenVideo(**values["video"]), Face(**values["face"])
        return cls(**{**values, "video": video, "face": face})


Standard = Literal["legacy", "new"]
"""Kling's two shapes of requests. A task is found through both."""


@dataclass(frozen=True, slots=True)
class Order:
    """One ordered video, so many `images`, or the `made` element or voice.

    `duration` and `shots` are seconds. `aspect_ratio` is width divided by height (None: the
    picture's). `flaw` is the reason for which the task will fail; empty when it will succeed.
    `lines` are the words of each shot where the caller listed them.
    `assets` are the elements and voices that the video shows. `video`: a reference video, or an
    element of one, is given. `cash`: the account pays from its balance. `motion`: a figure moves.
    `reference` is the video that is changed or followed, `speech` the sound that a face speaks,
    `other_words` the video in which it does. `faces` are those found in the video `looked_at`,
    `voice_id` speaks the prompt for `at_once_ms` milliseconds.
    """

    product: TaskKind
    model: str
    mode: str
    duration: int
    prompt: str = ""
    pictures: tuple[Picture, ...] = ()
    tail: Picture | None = None
    aspect_ratio: float | None = None
    sound: bool = False
    voice: bool = False
    camera: CameraControl | None = None
    shots: tuple[int, ...] = ()
    lines: tuple[str, ...] = ()
    watermark: bool = False
    external_task_id: str = ""
    callback_url: str = ""
    flaw: str = ""
    standard: Standard = "legacy"
    assets: tuple[Asset, ...] = ()
    video: bool = False
    made: Asset | None = None
    cash: bool = False
    images: int = 0
    motion: Motion | None = None
    reference: Reference | None = None
    speech: GivenVideo | None = None
    other_words: OtherWords | None = None
    looked_at: GivenVideo | None = None
    faces: tuple[Face, ...] = ()
    voice_id: str = ""
    at_once_ms: int = 0

    @property
    def seen(self) -> GivenVideo | None:
        """The video that the film shows something of, or the sound that it speaks."""
        given = self.motion or self.reference or self.other_words
        return given.video if given else self.speech

    @property
    def frames(self) -> int:
        """Frames of the video: one more than its seconds hold (Kling's API pages), or those of the
        motion that it follows, of the video that it changes, or of the sound that it speaks."""
        if self.other_words:
            whole = self.other_words.video.seconds or self.other_words.face.to_s
            return max(1, round(whole * FPS))
        follows = self.reference is None or self.reference.kind == "base"
        if self.seen and self.seen.seconds and follows:
            return max(1, round(self.seen.seconds * FPS))
        return self.duration * FPS + 1

    @property
    def units(self) -> float:
        """The units that it costs when it succeeds; image units for pictures."""
        if self.made:
            return ASSET_UNITS[self.made.kind]
        if self.product in AT_ONCE_UNITS:
            return AT_ONCE_UNITS[self.product]
        if self.images:
            of_pictures = IMAGE_MODELS[self.model]
            return of_pictures.price(self.mode, self.images, from_pictures=bool(self.pictures))
        row = MODELS[self.model]
        if self.other_words:
            parts = -(-self.duration // SPOKEN_PART_S)
            return round(row.units[""].silent * parts * SPOKEN_PART_S, 4)
        if self.motion:
            return round(row.motion[self.mode] * self.duration, 4)
        return row.price(
            self.mode, self.duration, sound=self.sound, voice=self.voice, video=self.video
        )

    @property
    def short_side(self) -> int:
        """The shorter side of the video in px."""
        return SHORT_SIDE_PX[self.mode]

    def to_json(self) -> dict[str, Any]:
        """The order as JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Order:
        """The order from the values of `to_json`."""
        camera, tail, made = values["camera"], values["tail"], values.get("made")
        motion, reference = values.get("motion"), values.get("reference")
        speech, other = values.get("speech"), values.get("other_words")
        looked_at = values.get("looked_at")
        return cls(
            **{
                **values,
                "pictures": tuple(Picture(**picture) for picture in values["pictures"]),
                "tail": Picture(**tail) if tail else None,
                "camera": CameraControl(**camera) if camera else None,
                "shots": tuple(values["shots"]),
                "lines": tuple(values.get("lines", ())),
                "assets": tuple(Asset.from_json(asset) for asset in values.get("assets", ())),
                "made": Asset.from_json(made) if made else None,
                "motion": Motion.from_json(motion) if motion else None,
                "reference": Reference.from_json(reference) if reference else None,
                "speech": GivenVideo(**speech) if speech else None,
                "other_words": OtherWords.from_json(other) if other else None,
                "looked_at": GivenVideo(**looked_at) if looked_at else None,
                "faces": tuple(Face(**face) for face in values.get("faces", ())),
            }
        )


Status = Literal["submitted", "processing", "succeed", "failed"]


@dataclass(frozen=True, slots=True)
class Task:
    """A task in the state file. Nothing runs: its status follows from the clock alone.

    `task_id` is Kling's id, `public_id` the provider's, often the same. Times are Unix seconds:
    `created_at`, `started_at` when processing begins, `ended_at` when it is done. `failure` is
    Kling's message for a failing task, empty for one that succeeds. `units` is its cost when it
    succeeds. `deleted`: the element or voice that it made is deleted.
    """

    task_id: str
    public_id: str
    provider: str
    order: Order
    created_at: float
    started_at: float
    ended_at: float
    units: float
    failure: str = ""
    deleted: bool = False

    def status(self, now: float) -> Status:
        """Kling's word for the task's status."""
        if now < self.started_at:
            return "submitted"
        if now < self.ended_at:
            return "processing"
        return "failed" if self.failure else "succeed"

    def updated_at(self, now: float) -> float:
        """When the status last changed."""
        if now < self.started_at:
            return self.created_at
        return self.started_at if now < self.ended_at else self.ended_at

    def charged(self, now: float) -> float | None:
        """The deducted units: None while it runs, 0 when it failed."""
        if now < self.ended_at:
            return None
        return 0.0 if self.failure else self.units
