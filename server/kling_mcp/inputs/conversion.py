"""Converts a picture into one that Kling takes, and that everybody shows as its owner sees it."""

from __future__ import annotations

import io
import math
import os
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from typing import IO, Any

from kling_mcp.inputs.decoding import Decoding, decoded_bytes, scans_of, upright
from kling_mcp.inputs.file_type import JPEG, PNG, Header
from kling_mcp.inputs.held import HeldFile, SourceChanged, size_text
from kling_mcp.inputs.picture_rules import (
    BYTES_MAX,
    CONVERTED_PIXEL_BYTES,
    SIDE_MENDED,
    SIDE_MIN,
    SOURCE_BYTES_MAX,
    Facts,
    Role,
)
from kling_mcp.inputs.refusal import Refusal
from kling_tools.errors import KlingError

__all__ = ["Converted", "Fit", "convert"]


SIDE_MAX = 65_500
"""The most pixels of a JPEG's side."""

PADDED_SIDE_MAX = 4096
"""The most pixels of a padded picture's side; no video of Kling is larger."""

ALWAYS_CONVERTED_PIXELS = 30_000_000
"""The most pixels of a picture that is surely converted: 17 bytes each are 510 MB of memory."""

REDUCED_MOST = 8
"""libjpeg decodes at an eighth of the sides at the least."""

JPEG_QUALITY = 92
ATTEMPTS = 6
BACKDROP_PX = 64
"""Longer side of the copy whose enlargement fills the borders."""


@dataclass(frozen=True, slots=True)
class Fit:
    """A ratio that a frame is cropped to, or padded to: `words` are those of the request."""

    words: str
    wide: int
    high: int
    pad: bool

    @classmethod
    def of(cls, words: str) -> Fit | None:
        """The fit of a request: "9:16" or "9:16 pad"; None for an empty text."""
        ratio, _, how = words.partition(" ")
        if not ratio:
            return None
        wide, _, high = ratio.partition(":")
        return cls(words, int(wide), int(high), how == "pad")

    def size(self, width: int, height: int) -> tuple[int, int]:
        """The size in pixels to which a picture of this size is cropped or padded; its own if that
        has the ratio to the pixel."""
        if abs(width * self.high - height * self.wide) <= max(self.wide, self.high):
            return width, height
        across, down = round(height * self.wide / self.high), round(width * self.high / self.wide)
        if not self.pad:
            return min(width, across), min(height, down)
        size = max(width, across), max(height, down)
        factor = min(1.0, PADDED_SIDE_MAX / max(size))
        return round(size[0] * factor), round(size[1] * factor)


@dataclass(frozen=True, slots=True)
class Converted:
    """A converted picture: its facts, its bytes in a temporary file, and what was done with it, in
    a clause: "sent as JPEG 3024x4032 from HEIC". `fitted` says that a fit changed its ratio, `kept`
    which part of the picture a crop left, 0 to 1."""

    facts: Facts
    held: HeldFile
    told: str
    fitted: bool
    kept: float = 1.0


def convert(
    held: HeldFile,
    facts: Facts,
    role: Role,
    decoding: Decoding,
    fit: Fit | None = None,
    *,
    required: bool = True,
) -> Converted | None:
    """A copy of the picture that Kling takes, as JPEG.

    It is the first frame of an animation, turned as EXIF says, in sRGB, on white where it is
    transparent, and cropped or padded to the `fit`. A small picture is enlarged to `SIDE_MIN` px,
    one of too many bytes is made smaller. A mask becomes a PNG of the same pixels. None if the
    conversion is not `required` and would change nothing.

    Raises `Refusal` when the picture cannot be decoded or made to fit, KlingError when no memory
    is free.
    """
    opener = facts.file_type.opener()
    if opener is None:
        raise _hopeless(facts, f"no reader of {facts.file_type.name} is installed here")
    if facts.size_bytes > SOURCE_BYTES_MAX:
        raise _hopeless(facts, f"nothing above {size_text(SOURCE_BYTES_MAX)} is converted")
    try:
        image = opener(held.view())
        needed = _prepare(image, role, fit, decoding, facts.label)
        with decoding.room(needed):
            work = _Work(image, facts, role)
            if fit:
                work.fit(fit)
            if not (required or work.done):
                return None
            file = work.encoded()
    except (Refusal, SourceChanged, KlingError):
        raise
    except Exception as error:  # decoders raise anything when the bytes are hostile
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the disk's fault, not the picture's
        raise Refusal(
            "image_unreadable",
            f"{facts.label} is damaged or cut short and cannot be converted.",
            "a picture that opens in an image viewer",
        ) from error
    kept = HeldFile(file, facts.label)
    now = Facts(facts.label, work.file_type, kept.size, Header(*work.image.size))
    return Converted(now, kept, work.told(), work.fitted, work.kept)


def _prepare(image: Any, role: Role, fit: Fit | None, decoding: Decoding, label: str) -> int:
    """Bytes of memory that the conversion takes. A JPEG that would take too many is set to be
    decoded at a smaller size. Raises `Refusal` for a picture that takes too many anyhow."""
    pixels, scans, size = image.width * image.height, scans_of(image), image.size
    for reduced in (1, 2, 4, REDUCED_MOST):
        if reduced > 1:
            image.draft(None, (size[0] // reduced, size[1] // reduced))
        needed = _needed_bytes(image, pixels, scans, role, fit)
        if decoding.fits(needed) and max(image.size) <= SIDE_MAX:
            return needed
        if role.mask or image.format not in ("JPEG", "MPO"):
            break
    raise _vast(label, *size)


def _needed_bytes(image: Any, pixels: int, scans: int, role: Role, fit: Fit | None) -> int:
    """Bytes of memory for the picture and for its copy, which may be larger."""
    width, height = image.size
    grown = 1.0 if role.mask else max(1.0, SIDE_MIN / min(width, height)) ** 2
    copied = int(width * height * grown * CONVERTED_PIXEL_BYTES)
    padded = math.prod(fit.size(width, height)) * CONVERTED_PIXEL_BYTES if fit and fit.pad else 0
    return max(decoded_bytes(image, pixels, scans), copied) + padded


class _Work:
    """A picture that is decoded and changed step by step; `done` names the steps that a person may
    want to know of."""

    def __init__(self, image: Any, facts: Facts, role: Role) -> None:
        animated = bool(getattr(image, "is_animated", False))
        image.load()
        self.done = ["its first frame"] if animated and not facts.file_type.accepted else []
        self.fitted = False
        self.kept = 1.0
        self._facts = facts
        self._role = role
        if facts.header and "turned" in facts.header.uneven:
            self.done.append("turned upright")
        self.image = self._plain(upright(image))
        self._seen = self.image.size
        self.file_type = PNG if role.mask else JPEG

    def _plain(self, image: Any) -> Any:
        """The picture as L or RGB; a mask may stay RGBA."""
        if image.mode.startswith("I"):
            image.info.pop("icc_profile", None)
            return image.convert("F").point(lambda level: level * (1 / 256)).convert("L")
        if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
            image = image.convert("RGBA")
            lowest, _ = image.getchannel("A").getextrema()
            if self._role.mask and lowest < 255:
                return image
            image = self._on_white(image) if lowest < 255 else image.convert("RGB")
        if image.mode in ("CMYK", "YCCK"):
            self.done.append("CMYK made RGB")
        return _in_srgb(image)

    def _on_white(self, image: Any) -> Any:
        from PIL import Image

        self.done.append("on white")
        white = Image.new("RGB", image.size, "white")
        white.paste(image, mask=image.getchannel("A"))
        white.info = {name: image.info[name] for name in ("icc_profile",) if name in image.info}
        return white

    def fit(self, fit: Fit) -> None:
        """Crop the picture around its middle, or pad it with a blurred copy of itself. Raises
        `Refusal` for a crop that is too small."""
        from PIL import ImageOps
        from PIL.Image import Resampling

        before, size = self.image.size, fit.size(*self.image.size)
        ratio = f"{fit.wide}:{fit.high}"
        if size == before:
            return
        if fit.pad:
            scale = BACKDROP_PX / max(size)
            small = (max(1, round(size[0] * scale)), max(1, round(size[1] * scale)))
            inner = ImageOps.contain(self.image, size, Resampling.LANCZOS)
            self.image = ImageOps.fit(inner, small).resize(size, Resampling.BICUBIC)
            self.image.paste(inner, _middle(size, inner.size))
        elif min(size) < SIDE_MENDED:
            raise Refusal(
                "image_side",
                f"{self._facts.label} would be {size[0]}x{size[1]} px once it is cropped to "
                f"{ratio}; each side must have at least {SIDE_MIN} px.",
                f'fit "{ratio} pad", or a larger copy',
            )
        else:
            left, top = _middle(before, size)
            self.image = self.image.crop((left, top, left + size[0], top + size[1]))
            self.kept = math.prod(size) / math.prod(before)
        self.fitted = True
        header = self._facts.header
        whole = (header.width, header.height) if header else before
        self.done.append(
            f"{'padded' if fit.pad else 'cropped'} to {ratio} from {whole[0]}x{whole[1]}"
        )
        self._seen = self.image.size

    def encoded(self) -> IO[bytes]:
        """The encoded picture in a temporary file of at most `BYTES_MAX` bytes."""
        mask = self._role.mask
        if not mask and min(self.image.size) < SIDE_MIN:
            self._resize(SIDE_MIN / min(self.image.size))
        for _ in range(ATTEMPTS):
            with ExitStack() as undo:
                file = undo.enter_context(tempfile.TemporaryFile())
                self.image.save(file, self.file_type.name, quality=JPEG_QUALITY, optimize=mask)
                file.flush()
                size = file.seek(0, os.SEEK_END)
                if size <= BYTES_MAX:
                    undo.pop_all()
                    return file
            factor = 0.9 * math.sqrt(BYTES_MAX / size)
            if mask or min(self.image.size) * factor < SIDE_MIN:
                break
            self._resize(factor)
        raise _hopeless(self._facts, "it stays larger than 10 MB")

    def told(self) -> str:
        """The clause about what was sent."""
        facts, (width, height) = self._facts, self.image.size
        source = "" if facts.file_type is self.file_type else f" from {facts.file_type.name}"
        done = [f"sent as {self.file_type.name} {width}x{height}{source}", *self.done]
        seen = self._seen
        if not self.fitted and facts.header:
            seen = facts.header.width, facts.header.height
        if (width, height) != seen:
            word = "enlarged" if width > seen[0] else "made smaller"
            done.append(f"{word} from {seen[0]}x{seen[1]}")
        if facts.size_bytes > BYTES_MAX:
            done.append(f"it had {size_text(facts.size_bytes)}")
        return ", ".join(done)

    def _resize(self, factor: float) -> None:
        from PIL.Image import Resampling

        width, height = (max(SIDE_MIN, round(side * factor)) for side in self.image.size)
        if max(width, height) > SIDE_MAX:
            raise _vast(self._facts.label, width, height)
        self.image = self.image.resize((width, height), Resampling.LANCZOS)


def _middle(outer: tuple[int, int], inner: tuple[int, int]) -> tuple[int, int]:
    """Left and top of the inner rectangle in the middle of the outer one."""
    return (outer[0] - inner[0]) // 2, (outer[1] - inner[1]) // 2


def _in_srgb(image: Any) -> Any:
    """The picture as L or RGB, its colours by its profile: phones write Display P3, printers CMYK,
    and a video knows only sRGB."""
    from PIL import ImageCms

    profile = image.info.pop("icc_profile", None)
    if profile and image.mode in ("RGB", "CMYK"):
        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            if "sRGB" not in ImageCms.getProfileDescription(source):
                target = ImageCms.createProfile("sRGB")
                return ImageCms.profileToProfile(image, source, target, outputMode="RGB")
        except (ImageCms.PyCMSError, OSError):  # a profile that is damaged, or of another space
            pass
    return image if image.mode in ("L", "RGB") else image.convert("RGB")


def _vast(label: str, width: int, height: int) -> Refusal:
    return Refusal(
        "image_pixels",
        f"{label} cannot be converted: it would take {width}x{height} px in memory.",
        f"a picture of at most {ALWAYS_CONVERTED_PIXELS // 1_000_000} megapixels",
    )


def _hopeless(facts: Facts, reason: str) -> Refusal:
    header = facts.header
    pixels = [f"{header.width}x{header.height} px"] if header else []
    spoken = ", ".join([facts.file_type.name, *pixels, size_text(facts.size_bytes)])
    return Refusal(
        "image_not_convertible",
        f"{facts.label} ({spoken}) cannot be converted: {reason}.",
        "a JPEG or PNG copy of at most 10 MB",
    )
