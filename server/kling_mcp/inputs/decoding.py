"""The limits of decoding: one budget of bytes for the process, and its own threads.

A file of some kilobytes can decode into gigabytes, and four people may send such files at once.
Code that decodes a stranger's picture or video must run in `run` and inside `room`.
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

PIXEL_BYTES = {"WEBP": 17, "AVIF": 16, "HEIF": 10.5}
"""The most bytes for a pixel in Pillow's readers, measured with Pillow 13 and rounded up."""

PLAIN_PIXEL_BYTES = 4
"""The same for all other formats."""

COEFFICIENT_BYTES = 8
"""Further bytes for each pixel of a JPEG of several scans, at any size of its decoding: libjpeg
holds the coefficients until the last scan."""

SCAN = b"\xff\xda"
SCANS_MAX = 64
"""The most scans of a JPEG; a progressive one has about ten. A scan of a few bytes may still cover
the whole picture."""

TILE_WIDTH, TILE_LENGTH = 322, 323
TILE_PIXEL_BYTES = 8
"""Tiles of a TIFF are decoded as a whole, and may be larger than the picture [TIFF 6.0, 15]."""


PICTURES_REMEMBERED = 200


@dataclass(frozen=True, slots=True)
class DecodingLimits:
    """All decoding of the process together takes at most `decoded_bytes` bytes and `threads`
    threads. A caller waits for them at most `wait_s` seconds. The decoding of one video ends after
    `video_s` seconds."""

    decoded_bytes: int = 512 * _MB
    threads: int = 2
    wait_s: float = 30.0
    video_s: float = 20.0


class Decoding:
    """Lends memory and threads for decoding.

    The wait for a thread is in the event loop, so a call that decodes nothing never waits for one
    that does. The wait for memory is in these threads, first come, first served.
    """

    def __init__(self, limits: DecodingLimits | None = None) -> None:
        self.limits = limits or DecodingLimits()
        self._free = self.limits.decoded_bytes
        self._turn = threading.Lock()
        self._changed = threading.Condition()
        self._whole: dict[str, None] = {}
        self._threads: RunVar[anyio.CapacityLimiter] = RunVar("decoding threads")

    async def run(self, work: Callable[[], T], *, wait_s: float | None = None) -> T:
        """The result of the work, done in one of these threads; raises KlingError if no thread is
        free within `wait_s` seconds."""
        limiter, borrower = self._limiter(), object()
        try:
            limiter.acquire_on_behalf_of_nowait(borrower)
        except anyio.WouldBlock:
            with anyio.move_on_after(self.limits.wait_s if wait_s is None else wait_s) as scope:
                await limiter.acquire_on_behalf_of(borrower)
            if scope.cancelled_caught:
                raise _busy() from None
        try:
            return await to_thread.run_sync(work, limiter=anyio.CapacityLimiter(1))
        finally:
            limiter.release_on_behalf_of(borrower)

    def knows_whole(self, sha256: str) -> bool:
        """Whether the picture with these bytes was found whole: a dry run, a submit and each take
        send the same one."""
        return sha256 in self._whole

    def found_whole(self, sha256: str) -> None:
        """Remember that the picture with these bytes is whole."""
        self._whole[sha256] = None
        if len(self._whole) > PICTURES_REMEMBERED:
            self._whole.pop(next(iter(self._whole)), None)

    def fits(self, needed_bytes: int) -> bool:
        """Whether the budget is large enough for so many bytes."""
        return needed_bytes <= self.limits.decoded_bytes

    @contextmanager
    def room(self, needed_bytes: int, what: str = "this") -> Iterator[None]:
        """Reserve so much memory for the context; it blocks the thread until the memory is free.

        Raises KlingError if it is not free in time, and if the budget is too small.
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
"""The limits of the process; tests give others."""


def decoded_bytes(image: Image, pixels: int = 0, scans: int = 1) -> int:
    """The most bytes of memory that the decoding of an opened picture takes. For a JPEG that is
    decoded at a smaller size, `pixels` is the number in its file and `scans` is from `scans_of`."""
    each = PIXEL_BYTES.get(image.format or "", PLAIN_PIXEL_BYTES)
    needed = int(image.width * image.height * each)
    if scans > 1:
        needed += COEFFICIENT_BYTES * max(pixels, image.width * image.height)
    tags = getattr(image, "tag_v2", {})
    return needed + int(tags.get(TILE_WIDTH, 0) * tags.get(TILE_LENGTH, 0) * TILE_PIXEL_BYTES)


def scans_of(image: Image) -> int:
    """The most scans that an opened JPEG can have, counted in its file; 1 for any other picture.

    Raises ValueError for more than SCANS_MAX, whose decoding would take minutes.
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
    """An opened picture, decoded in as few bytes as its reader can, upright, with sides of at most
    `longest` px.

    Raises KlingError if it takes more than `most_bytes` or than the budget, and Pillow's errors.
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
    """The picture, turned as its EXIF says if that is readable."""
    from PIL import ImageOps

    try:
        ImageOps.exif_transpose(image, in_place=True)
    except Exception:  # EXIF of any kind stands in pictures that are whole otherwise
        return image
    return image


def _busy() -> KlingError:
    return KlingError(
        "This server is decoding too many pictures and videos at this moment.",
        charged="no",
        advice="Nothing was sent. Send the very same request again in a moment.",
    )
