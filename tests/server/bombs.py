"""Small files that decode into much, or keep a decoder busy. Each is written to `path`."""

import io
import os
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path

import av
from PIL import Image

SIGNATURE = b"\x89PNG\r\n\x1a\n"


def chunk(kind: bytes, data: bytes = b"") -> bytes:
    """A chunk of a PNG."""
    checksum = zlib.crc32(kind + data)
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum)


def packed_zeros(size: int) -> bytes:
    """So many MiB of zeros in gzip, without their end; packed once, as each is packed alike."""
    packer = zlib.compressobj(9, wbits=31)
    first, next_one = (
        packer.compress(bytes(2**20)) + packer.flush(zlib.Z_FULL_FLUSH) for _ in range(2)
    )
    return first + next_one * (size - 1)


def png(path: Path, width: int, height: int, before: bytes = b"") -> Path:
    """A black picture, with chunks before its pixels; 9400x9400 px are 260 KB."""
    packer = zlib.compressobj(9)
    row = bytes(1 + 3 * width)
    pixels = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = (chunk(b"IHDR", header), before, chunk(b"IDAT", pixels), chunk(b"IEND"))
    path.write_bytes(SIGNATURE + b"".join(parts))
    return path


def flat(path: Path, file_format: str, side: int, **options: object) -> Path:
    """A black picture in any format: a WebP of 16383x10900 px has 34 bytes."""
    Image.new("RGB", (side, side)).save(path, file_format, **options)
    return path


def jpeg_of_scans(path: Path, side: int, scans: int) -> Path:
    """A progressive JPEG whose last scan is repeated."""
    file = io.BytesIO()
    Image.new("RGB", (side, side)).save(file, "JPEG", progressive=True)
    data = file.getvalue()
    path.write_bytes(data[:-2] + data[data.rindex(b"\xff\xda") : -2] * scans + b"\xff\xd9")
    return path


def zeros_behind_a_jpeg_head(path: Path, size: int) -> Path:
    path.write_bytes(b"\xff\xd8\xff\xe0\0\x10JFIF\0\1\1\0\0\1\0\1\0\0")
    os.truncate(path, size)
    return path


def tiff(path: Path, tags: Sequence[tuple[int, int, int, int]], size: int) -> Path:
    """A BigTIFF with these tags (number, type, count, value or offset), sparse up to `size`."""
    entries = b"".join(struct.pack("<HHQQ", *tag) for tag in tags)
    directory = struct.pack("<Q", len(tags)) + entries + bytes(8)
    path.write_bytes(b"II\x2b\0\x08\0\0\0" + struct.pack("<Q", 16) + directory)
    os.truncate(path, size)
    return path


def tiff_of_one_long_tag(path: Path, size: int) -> Path:
    return tiff(path, [(256, 4, 1, 640), (257, 4, 1, 480), (270, 2, size - 200, 200)], size)


def tiff_of_one_vast_tile(path: Path, side: int) -> Path:
    """400x400 px, in a tile that is much larger."""
    tags = [(256, 400), (257, 400), (258, 8), (259, 5), (262, 1), (277, 1)]
    tags += [(322, side), (323, side), (324, 8), (325, 5)]
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    directory = struct.pack("<H", len(tags)) + entries + bytes(4)
    path.write_bytes(b"II*\0\x10\0\0\0\x80\x0b\x60\x50\x22\0\0\0" + directory)
    return path


def box(kind: bytes, body: bytes = b"") -> bytes:
    """A box of an MP4."""
    return struct.pack(">I4s", 8 + len(body), kind) + body


def mp4_of_boxes(path: Path, boxes: int) -> Path:
    path.write_bytes(box(b"ftyp", b"isom\0\0\0\0") + box(b"free") * boxes)
    return path


def vast_video(path: Path, side: int, frames: int = 2) -> Path:
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=24, options={"preset": "ultrafast"})
        stream.width = stream.height = side
        stream.pix_fmt = "yuv420p"
        for number in range(frames):
            frame = av.VideoFrame(side, side, "yuv420p")
            for plane in frame.planes:
                plane.update(bytes([128]) * plane.buffer_size)
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def with_samples(path: Path, clip: Path, samples: int) -> Path:
    """A clip whose index claims so many samples of one size."""
    data = bytearray(clip.read_bytes())
    sizes, chunks = data.index(b"stsz"), data.index(b"stsc")
    data[sizes + 8 : sizes + 16] = struct.pack(">II", 1, samples)
    data[chunks + 16 : chunks + 20] = struct.pack(">I", samples)
    path.write_bytes(data)
    os.truncate(path, len(data) + 8 + samples)
    with path.open("r+b") as file:
        file.seek(len(data))
        file.write(struct.pack(">I4s", 8 + samples, b"free"))
    return path


def with_a_long_run(path: Path, fragmented: Path, samples: int) -> Path:
    """A fragmented clip whose first run claims so many samples, none with a size of its own."""
    data = bytearray(fragmented.read_bytes())
    run = data.index(b"trun")
    data[run + 4 : run + 12] = struct.pack(">II", 0, samples)
    path.write_bytes(data)
    return path


def with_edits(path: Path, clip: Path, edits: int) -> Path:
    """A clip whose edit list shows all of it again and again. Its index stands at its end."""
    data = bytearray(clip.read_bytes().replace(b"edts", b"free"))
    entry = struct.pack(">IiI", 125_000, 0, 65_536)
    added = box(b"edts", box(b"elst", struct.pack(">II", 0, edits) + entry * edits))
    for kind in (b"moov", b"trak"):
        at = data.index(kind) - 4
        length = struct.unpack_from(">I", data, at)[0]
        if kind == b"trak":
            data[at + length : at + length] = added
        struct.pack_into(">I", data, at, length + len(added))
    path.write_bytes(data)
    return path
