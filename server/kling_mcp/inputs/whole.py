"""Whether a picture is whole: every byte of it there, and as it was written."""

from __future__ import annotations

import zlib
from typing import Any

from kling_mcp.inputs.base64_stream import SourceChanged
from kling_mcp.inputs.decoding import Decoding, decoded_bytes, scans_of
from kling_mcp.inputs.file_type import JPEG, PNG, FileType, Opener
from kling_mcp.inputs.held import HeldFile
from kling_tools.errors import KlingError

__all__ = ["is_whole"]

READS_MAX = 200_000
"""Three for each chunk of a PNG; most writers make chunks of 8 KB and more."""

_STEP = 1024 * 1024
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
"""By PNG's colour type [PNG specification, section 11.2.1]."""


class _Damaged(Exception):
    pass


def is_whole(held: HeldFile, file_type: FileType, decoding: Decoding) -> bool:
    """False when the picture is damaged or cut short.

    Of a PNG every checksum is compared and the pixels are unpacked, of a JPEG all is decoded but
    enlarged to an eighth of its sides only; others are decoded. What is behind the end of a
    picture does not count. One that would take more memory than is ever lent passes, and so does
    what nothing here can read. Raises `SourceChanged`, and KlingError when no memory is free.
    """
    opener = file_type.opener()
    if opener is None:
        return True
    check = {PNG: _check_png, JPEG: _check_jpeg}.get(file_type, _decode)
    try:
        check(held, opener, decoding)
    except (SourceChanged, KlingError):
        raise
    except Exception:  # decoders raise anything when the bytes are hostile
        return False
    return True


def _check_png(held: HeldFile, opener: Opener, decoding: Decoding) -> None:
    from PIL.ImageFile import _safe_read

    image = opener(held.view(most_reads=READS_MAX))
    bits, colour = held.read_at(24, 2)
    least = image.width * image.height * bits * _CHANNELS[colour] // 8
    inflater, unpacked = zlib.decompressobj(), 0
    image.fp.seek(image.tile[0].offset - 8)  # where the first IDAT begins, as Pillow's verify does
    while True:
        kind, _, length = image.png.read()
        if kind == b"IEND":
            break
        data = _safe_read(image.fp, length)
        image.png.crc(kind, data)
        while kind == b"IDAT" and data and unpacked < least and not inflater.eof:
            unpacked += len(inflater.decompress(data, _STEP))
            data = inflater.unconsumed_tail
    if unpacked < least:
        raise _Damaged


def _check_jpeg(held: HeldFile, opener: Opener, decoding: Decoding) -> None:
    """Pillow misses an end that is missing where an end mark stands, and noise in between: libjpeg
    only warns of it. FFmpeg is told to stop there."""
    image = opener(held.view())
    data, scan = held.head(held.size), image.fp.tell()
    if data.find(b"\xff\xd9", scan) < 0:
        raise _Damaged
    pixels, scans = image.width * image.height, scans_of(image)
    image.draft(image.mode, (1, 1))
    needed = decoded_bytes(image, pixels, scans)
    if decoding.fits(needed):
        with decoding.room(needed):
            image.load()
            _decode_strictly(data)


def _decode_strictly(data: bytes) -> None:
    import av

    decoder: Any = av.CodecContext.create("mjpeg", "r")
    decoder.thread_count = 1
    decoder.options = {"err_detect": "explode", "lowres": "3"}
    try:
        decoder.decode(av.Packet(data))
    except av.InvalidDataError:
        raise
    except av.FFmpegError:  # a kind that FFmpeg cannot read, arithmetic coding for example
        return


def _decode(held: HeldFile, opener: Opener, decoding: Decoding) -> None:
    image = opener(held.view())
    if decoding.fits(decoded_bytes(image)):
        with decoding.room(decoded_bytes(image)):
            image.load()
