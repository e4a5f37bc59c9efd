"""The real type of a file, by its first bytes instead of its name, and whether it is whole."""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import PurePosixPath
from typing import IO, Any

from kling_mcp.inputs.decoding import Decoding, decoded_bytes, scans_of
from kling_mcp.inputs.held import HeldFile, SourceChanged
from kling_mcp.inputs.refusal import SOURCE, Refusal
from kling_tools.errors import KlingError

__all__ = [
    "EMPTY",
    "HEAD_BYTES",
    "JPEG",
    "PIXELS_MAX",
    "PNG",
    "READABLE",
    "SOUND",
    "TEXT",
    "UNKNOWN",
    "VIDEO",
    "FileType",
    "Header",
    "Opener",
    "detect",
    "is_whole",
    "named_like",
    "read_header",
]


HEAD_BYTES = 4096
"""Bytes that `detect` requires."""

Opener = Callable[[IO[bytes]], Any]


@dataclass(frozen=True, slots=True)
class FileType:
    """A type of file: its `name` ("PNG"), and the words for it (`said`: "a PNG picture").

    `suffixes` are the endings of its names, `plugin` is Pillow's reader of it ("module:class", or
    empty). Kling takes an `accepted` type. The header of a `light` type is read without the rest of
    the file.
    """

    name: str
    said: str
    suffixes: tuple[str, ...] = ()
    plugin: str = ""
    accepted: bool = False
    light: bool = False

    @property
    def is_picture(self) -> bool:
        """Whether it is a picture that some reader of ours can decode, installed or not."""
        return bool(self.plugin)

    def opener(self) -> Opener | None:
        """The reader that opens such a picture; None if this installation has none."""
        module_name, _, class_name = self.plugin.partition(":")
        if not module_name:
            return None
        try:
            module = import_module(module_name)
        except ImportError:
            return None
        opener: Opener | None = getattr(module, class_name, None)
        return opener if getattr(module, "SUPPORTED", True) else None


PNG = FileType(
    "PNG",
    "a PNG picture",
    (".png", ".apng"),
    "PIL.PngImagePlugin:PngImageFile",
    accepted=True,
    light=True,
)
JPEG = FileType(
    "JPEG",
    "a JPEG picture",
    (".jpg", ".jpeg", ".jpe", ".jfif"),
    "PIL.JpegImagePlugin:JpegImageFile",
    accepted=True,
    light=True,
)
WEBP = FileType("WebP", "a WebP picture", (".webp",), "PIL.WebPImagePlugin:WebPImageFile")
GIF = FileType("GIF", "a GIF picture", (".gif",), "PIL.GifImagePlugin:GifImageFile", light=True)
BMP = FileType("BMP", "a BMP picture", (".bmp",), "PIL.BmpImagePlugin:BmpImageFile", light=True)
TIFF = FileType(
    "TIFF", "a TIFF picture", (".tif", ".tiff"), "PIL.TiffImagePlugin:TiffImageFile", light=True
)
AVIF = FileType("AVIF", "an AVIF picture", (".avif",), "PIL.AvifImagePlugin:AvifImageFile")
HEIC = FileType("HEIC", "a HEIC picture", (".heic", ".heif"), "pillow_heif:HeifImageFile")
SVG = FileType("SVG", "an SVG drawing", (".svg",))
PDF = FileType("PDF", "a PDF document", (".pdf",))
VIDEO = FileType("video", "a video", (".mp4", ".mov", ".m4v", ".webm", ".mkv", ".avi"))
SOUND = FileType("sound", "a sound file", (".mp3", ".wav", ".m4a", ".aac", ".ogg", ".flac"))
ARCHIVE = FileType("archive", "a packed archive")
HTML = FileType("HTML", "an HTML page")
TEXT = FileType("text", "a text file")
EMPTY = FileType("empty", "empty (0 bytes)")
UNKNOWN = FileType("unknown", "no picture of a known type")

READABLE = (JPEG, PNG, HEIC, WEBP, AVIF, GIF, BMP, TIFF)
"""The types that Kling takes, or that can be converted for it."""

_SIGNATURES: tuple[tuple[re.Pattern[bytes], FileType], ...] = tuple(
    (re.compile(pattern, re.DOTALL), file_type)
    for pattern, file_type in (
        (rb"\x89PNG\r\n\x1a\n", PNG),
        (rb"\xff\xd8\xff", JPEG),
        (rb"RIFF....WEBP", WEBP),
        (rb"GIF8[79]a", GIF),
        (rb"BM.{12}[\x0c\x28\x34\x38\x40\x6c\x7c]\0\0\0", BMP),
        (rb"II[\x2a\x2b]\0|MM\0[\x2a\x2b]", TIFF),
        (rb"....ftyp(?:avi[fs]|mi[fa][1f].{4}(?:.{4}){0,8}avi[fs])", AVIF),
        (rb"....ftyp(?:hei[cxms]|hev[cxms]|mif1|msf1)", HEIC),
        (rb"ID3|\xff[\xe2\xe3\xf1-\xf3\xf9-\xfb]|RIFF....WAVE|OggS|fLaC|....ftypM4[AB]", SOUND),
        (rb"....ftyp|\x1a\x45\xdf\xa3|RIFF....AVI |....(?:moov|wide|mdat|skip)", VIDEO),
        (rb"%PDF-", PDF),
        (rb"8BPS", FileType("Photoshop", "a Photoshop document", (".psd",))),
        (rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51", FileType("JPEG 2000", "a JPEG 2000 picture")),
        (rb"\xff\x0a|\0\0\0\x0cJXL ", FileType("JPEG XL", "a JPEG XL picture", (".jxl",))),
        (rb"\0\0[\x01\x02]\0[^\0]\0", FileType("icon", "an icon file", (".ico", ".cur"))),
        (rb"PK\x03\x04|\x1f\x8b\x08|7z\xbc\xaf|Rar!\x1a", ARCHIVE),
    )
)

_WRITTEN: tuple[tuple[re.Pattern[str], FileType], ...] = (
    (re.compile(r"<svg[\s>]", re.IGNORECASE), SVG),
    (re.compile(r"\A\s*(?:<!doctype html|<html)", re.IGNORECASE), HTML),
)


_NAMED = {
    suffix: file_type
    for file_type in (SVG, *(signature[1] for signature in _SIGNATURES))
    for suffix in file_type.suffixes
}


def named_like(name: str) -> FileType | None:
    """The type that a file's name claims; None for an unknown ending."""
    return _NAMED.get(PurePosixPath(name).suffix.lower())


def detect(head: bytes) -> FileType:
    """The type of a file from its first `HEAD_BYTES` bytes; EMPTY, TEXT or UNKNOWN if it is no
    known type."""
    if not head:
        return EMPTY
    for pattern, file_type in _SIGNATURES:
        if pattern.match(head):
            return file_type
    text = _as_text(head)
    if text is None:
        return UNKNOWN
    for written, file_type in _WRITTEN:
        if written.search(text):
            return file_type
    return TEXT


def _as_text(head: bytes) -> str | None:
    """The bytes as text, or None if they are no text. The last character may be cut off."""
    coding = "utf-16" if head[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    for cut in range(4):
        try:
            text = head[: len(head) - cut].decode(coding)
        except UnicodeDecodeError:
            continue
        return text if all(ch.isprintable() or ch.isspace() for ch in text) else None
    return None


PIXELS_MAX = 178_956_970
"""The most pixels of a picture; Pillow calls more a decompression bomb (twice MAX_IMAGE_PIXELS)."""

WHOLE_READ_MAX = 10 * 1024 * 1024
"""The most bytes of a file that is read as a whole for its header."""

HEADER_BYTES = 4 * 1024 * 1024
"""The most bytes of any other header, profiles and previews included."""

HEADER_READS = 20_000
"""The most reads of a header; an empty chunk of a PNG takes two reads for its twelve bytes."""

_ORIENTATION = 0x0112
_UPRIGHT = 1
_QUARTER_TURNS = (5, 6, 7, 8)
_SEE_THROUGH = ("RGBA", "LA", "PA", "RGBa", "La")


@dataclass(frozen=True, slots=True)
class Header:
    """Width and height in pixels, as a viewer shows them. `turned` means that EXIF tells viewers to
    turn the stored pixels by 90°. `uneven` says that programs may show the picture differently:
    "turned" (EXIF turns or mirrors it), "CMYK", or "alpha" (it may be transparent). Decoding takes
    at most `decoded_bytes` bytes."""

    width: int
    height: int
    turned: bool = False
    uneven: frozenset[str] = frozenset()
    decoded_bytes: int = 0


def read_header(held: HeldFile, file_type: FileType) -> Header | None:
    """The header of a picture of this type.

    None if the type has no reader here, or one that would read a big file as a whole. Raises
    `Refusal` when the header is damaged or claims more than `PIXELS_MAX` pixels.
    """
    opener = file_type.opener() if file_type.light or held.size <= WHOLE_READ_MAX else None
    if opener is None:
        return None
    try:
        image = opener(
            held.view(HEADER_BYTES if file_type.light else 2 * WHOLE_READ_MAX, HEADER_READS)
        )
        width, height = (int(side) for side in image.size)
        if width < 1 or height < 1:
            raise ValueError("a picture without pixels")
        orientation = _orientation(image.info.get("exif"))
        uneven = _uneven(image, orientation)
        needed = decoded_bytes(image)
    except SourceChanged:
        raise
    except Exception as error:  # decoders raise anything when the bytes are hostile
        raise Refusal(
            "image_unreadable",
            f"{held.label} begins like {file_type.said}, but its header is damaged or cut short.",
            "a picture that opens in an image viewer",
            SOURCE,
        ) from error
    if width * height > PIXELS_MAX:
        raise Refusal(
            "image_pixels",
            f"{held.label} claims {width}x{height} px, more than {PIXELS_MAX:,} pixels in all.",
            "a smaller picture",
        )
    turned = orientation in _QUARTER_TURNS
    if turned:
        width, height = height, width
    return Header(width, height, turned, uneven, needed)


def _orientation(exif: Any) -> int:
    if not exif:
        return _UPRIGHT
    from PIL import Image

    try:
        tags = Image.Exif()
        tags.load(exif)
        found = tags.get(_ORIENTATION)
    except Exception:  # a damaged EXIF block does not make the picture unusable
        return _UPRIGHT
    return found if isinstance(found, int) and 1 < found <= max(_QUARTER_TURNS) else _UPRIGHT


def _uneven(image: Any, orientation: int) -> frozenset[str]:
    found = {
        "turned": orientation != _UPRIGHT,
        "CMYK": image.mode in ("CMYK", "YCCK"),
        "alpha": image.mode in _SEE_THROUGH or "transparency" in image.info,
    }
    return frozenset(name for name, there in found.items() if there)


CHUNKS_MAX = 100_000
"""Chunks of a PNG that are read; most writers make chunks of 8 KB and more."""

_STEP = 1024 * 1024
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
"""By PNG's colour type [PNG specification, section 11.2.1]."""


class _Damaged(Exception):
    pass


def is_whole(held: HeldFile, file_type: FileType, decoding: Decoding) -> bool:
    """Whether the picture is complete and undamaged.

    The check of a PNG compares every checksum and unpacks the pixels; that of a JPEG decodes it to
    an eighth of its sides; other types are decoded. Bytes behind the end of a picture do not count.
    A picture passes unchecked if it would take more memory than is ever lent, or has no reader
    here. Raises `SourceChanged`, and KlingError when no memory is free.
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
    """A chunk is its length, its kind, its data and a checksum of both [PNG specification, section
    5.3]. The data and the beginning of the next chunk are read at once."""
    if held.size < 26:  # where the colour type of the header ends
        raise _Damaged
    width, height, bits, colour = struct.unpack(">IIBB", held.read_at(16, 10))
    least = width * height * bits * _CHANNELS[colour] // 8
    inflater, unpacked = zlib.decompressobj(), 0
    start, head = 16, held.read_at(8, 8)
    for _ in range(CHUNKS_MAX):
        length, kind = struct.unpack(">I4s", head)
        if kind == b"IEND":
            break
        if start + length + 12 > held.size:
            raise _Damaged
        piece = held.read_at(start, length + 12)
        data, checksum, head = piece[:length], piece[length : length + 4], piece[length + 4 :]
        if zlib.crc32(data, zlib.crc32(kind)).to_bytes(4) != checksum:
            raise _Damaged
        while kind == b"IDAT" and data and unpacked < least and not inflater.eof:
            unpacked += len(inflater.decompress(data, _STEP))
            data = inflater.unconsumed_tail
        start += length + 12
    else:
        raise _Damaged
    if unpacked < least:
        raise _Damaged


def _check_jpeg(held: HeldFile, opener: Opener, decoding: Decoding) -> None:
    """libjpeg only warns of a missing part before an end mark, and of noise, so Pillow misses both.
    FFmpeg is told to stop there."""
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
