"""A process that opens bombs one after the other, and says what that took: seconds and MB."""

import resource
import sys
import time
from functools import partial
from pathlib import Path

import anyio

from kling_mcp.inputs.decoding import Decoding, DecodingLimits
from kling_mcp.inputs.mp4 import check
from kling_mcp.inputs.opening import open_pictures, thumbnail
from kling_mcp.inputs.policy import PicturePolicy
from kling_mcp.outputs.frames import contact_sheet_jpeg, moment_of, read_frame


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


async def look_at(path: Path, policy: PicturePolicy) -> None:
    """As four dry runs of a host with the player do."""

    async def once() -> None:
        pictures, _ = await open_pictures([("image", str(path))], policy)
        for picture in filter(None, pictures):
            picture.close()
        try:
            await thumbnail([("image", str(path))], policy)
        except Exception:  # it is a decoration
            return

    async with anyio.create_task_group() as group:
        for _ in range(4):
            group.start_soon(once)


def look_at_video(path: Path, decoding: Decoding) -> None:
    for look in (
        check,
        partial(read_frame, moment=moment_of("last"), decoding=decoding),
        partial(contact_sheet_jpeg, decoding=decoding),
    ):
        try:
            look(path)
        except Exception:  # it is refused; only what that took counts
            continue


def main(folder: Path) -> None:
    decoding = Decoding(DecodingLimits(decoded_bytes=64 * 2**20, wait_s=60))
    policy = PicturePolicy((folder,), fix=True, decoding=decoding)
    clip, small = folder / "clip.mp4", folder / "small.png"
    bombs = sorted(path for path in folder.iterdir() if path not in (clip, small))
    anyio.run(look_at, small, policy)  # what is imported for it is not counted
    for look in (check, partial(read_frame, moment=moment_of("last")), contact_sheet_jpeg):
        look(clip)
    began, least = time.monotonic(), peak_mb()
    for path in bombs:
        before = time.monotonic()
        if path.suffix == ".mp4":
            look_at_video(path, decoding)
        else:
            anyio.run(look_at, path, policy)
        print(path.name, f"{time.monotonic() - before:.2f} s, {peak_mb() - least:.0f} MB")
    print(f"{time.monotonic() - began:.1f} {peak_mb() - least:.0f}")


main(Path(sys.argv[1]))
