"""What decoding may take: one budget of bytes for the process, and threads of its own.

A file of some kilobytes can decode into gigabytes, and four people may send one at once. Whoever
decodes anything that a stranger made, picture or video, does it in `run` and inside `room`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import anyio
from anyio import to_thread
from anyio.lowlevel import RunVar

from kling_tools.errors import KlingError

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = [
    "DECODING",
    "Decoding",
    "DecodingLimits",
    "decoded_bytes",
    "scans_of",
    "shrink",
    "upright",
]

T = TypeVar("T")

_MB = 1024 * 1024

PIXEL_BYTES = {"WEBP": 17, "AVIF": 16, "HEIF": 16}
"""Most bytes that a pixel takes in Pillow's readers, measured with Pillow 13 and rounded up."""

PLAIN_PIXEL_BYTES = 4
"""The same for all other formats."""

COEFFICIENT_BYTES = 8
"""What each pixel of a JPEG of several scans takes besides, in whatever size it is decoded:
libjpeg holds the coefficients until the last scan."""

SCAN = b"\xff\xda"
SCANS_MAX = 64
"""A progressive JPEG has ten or so. Each goes over all of the picture, and may have a few bytes."""

TILE_WIDTH, TILE_LENGTH = 322, 323
TILE_PIXEL_BYTES = 8
"""Tiles of a TIFF may be larger than the picture, and are decoded whole [TIFF 6.0, section 15]."""


@dataclass(frozen=True, slots=True)
class DecodingLimits:
    """`decoded_bytes` that all decoding of the process takes at once, in `threads` threads. A
    caller waits for them for `wait_s` seconds; decoding of one video ends after `video_s`."""

    decoded_bytes: int = 512 * _MB
    threads: int = 2
    wait_s: float = 30.0
    video_s: float = 20.0


class Decoding:
    """Lends memory and threads to those who decode.

    Threads are waited for in the event loop, so that a call which decodes nothing never waits for
    one that does. Memory is waited for in these threads, first come, first served.
    """

    def __init__(self, limits: DecodingLimits | None = None) -> None:
        self.limits = limits or DecodingLimits()
        self._free = self.limits.decoded_bytes
        self._turn = threading.Lock()
        self._changed = threading.Condition()
        self._threads: RunVar[anyio.CapacityLimiter] = RunVar("decoding threads")

    async def run(self, work: Callable[[], T], *, wait_s: float | None = None) -> T:
        """What the work returns, done in one of these threads; raises KlingError when there is
        none in time."""
        limiter, borrower = self._limiter(), object()
        with anyio.move_on_after(self.limits.wait_s if wait_s is None else wait_s) as scope:
            await limiter.acquire_on_behalf_of(borrower)
        if scope.cancelled_caught:
            raise _busy()
        try:
            return await to_thread.run_sync(work, limiter=anyio.CapacityLimiter(1))
        finally:
            limiter.release_on_behalf_of(borrower)

    def fits(self, needed_bytes: int) -> bool:
        """Whether so much is ever lent."""
        return needed_bytes <= self.limits.decoded_bytes

    @contextmanager
    def room(self, needed_bytes: int, what: str = "this") -> Iterator[None]:
        """So much memory, waited for; it blocks the thread.

        Raises KlingError when there is none in time, and when so much is never lent.
        """
        if not self.fits(needed_bytes):
            raise KlingError(
                f"{what} takes {needed_bytes // _MB:,} MB of memory once it is decoded, more than "
                f"the {self.limits.decoded_bytes // _MB:,} MB that are lent.",
                charged="no",
            )
        until = time.monotonic() + self.limits.wait_s
        if not self._turn.acquire(timeout=self.limits.wait_s):
            raise _busy()
        try:
            with self._changed:
                left_s = max(0.0, until - time.monotonic())
                if not self._changed.wait_for(lambda: self._free >= needed_bytes, left_s):
                    raise _busy()
                self._free -= needed_bytes
        finally:
            self._turn.release()
        try:
            yield
        finally:
            with self._changed:
                self._free += needed_bytes
                self._changed.notify_all()

    def _limiter(self) -> anyio.CapacityLimiter:
        try:
            return self._threads.get()
        except LookupError:
            limiter = anyio.CapacityLimiter(self.limits.threads)
            self._threads.set(limiter)
            return limiter


DECODING = Decoding()
"""That of the process. Tests give others."""


def decoded_bytes(image: Image, pixels: int = 0, scans: int = 1) -> int:
    """The most memory that decoding an opened picture takes. Of a JPEG that was told to become
    smaller `pixels` are those of the file, and `scans` is what `scans_of` tells."""
    each = PIXEL_BYTES.get(image.format or "", PLAIN_PIXEL_BYTES)
    needed = image.width * image.height * each
    if scans > 1:
        needed += COEFFICIENT_BYTES * max(pixels, image.width * image.height)
    tags = getattr(image, "tag_v2", {})
    return needed + int(tags.get(TILE_WIDTH, 0) * tags.get(TILE_LENGTH, 0) * TILE_PIXEL_BYTES)


def scans_of(image: Image) -> int:
    """In how many scans an opened JPEG comes, at most; 1 for any other picture. Its file is read.

    Raises ValueError for so many that decoding them would take minutes.
    """
    file = getattr(image, "fp", None)
    if image.format not in ("JPEG", "MPO") or file is None:
        return 1
    begins, scans, last = file.tell(), 1, b""
    while piece := file.read(_MB):
        scans += (last + piece).count(SCAN)
        last = piece[-1:]
    if scans > SCANS_MAX:
        raise ValueError(f"{scans} scans are more than any picture needs")
    file.seek(begins)
    return scans


def shrink(image: Image, longest: int, decoding: Decoding, most_bytes: int | None = None) -> Image:
    """An opened picture that is not decoded yet, decoded in as few bytes as its reader can, upright
    and at most `longest` px long.

    Raises KlingError when it takes more than `most_bytes` or than is lent, and what Pillow raises.
    """
    pixels, scans = image.width * image.height, scans_of(image)
    image.draft(None, (2 * longest, 2 * longest))  # a JPEG is then read in an eighth of its size
    needed = decoded_bytes(image, pixels, scans)
    if most_bytes is not None and needed > most_bytes:
        raise KlingError(f"A likeness would take {needed // _MB:,} MB of memory.", charged="no")
    with decoding.room(needed, "the picture"):
        image.thumbnail((longest, longest))
        image.load()  # one that is small enough already is left alone
        return upright(image)


def upright(image: Image) -> Image:
    """The same picture, turned as its EXIF says, where that can be read."""
    from PIL import ImageOps

    try:
        ImageOps.exif_transpose(image, in_place=True)
    except Exception:  # EXIF of any kind stands in pictures that are whole otherwise
        return image
    return image


def _busy() -> KlingError:
    return KlingError(
        "This server has too many pictures and videos to look at in this moment.",
        charged="no",
        advice="Nothing was sent. Send the very same request again in a moment.",
    )
