"""Finished tasks of the sandbox, written into the ledger as if they had been made."""

import hashlib
from pathlib import Path

from kling_mcp.ledger import Ledger, NewRow
from kling_mcp.outputs.storage import name_of
from kling_mcp.providers.configured import SANDBOX_URL
from kling_mcp.providers.task import Task, Video
from kling_tools.results import TaskStatus

__all__ = ["made_before"]

WISHES = (
    ("coffee.jpg", "Steam rises from the cup"),
    ("cat.jpg", "She turns her head slowly"),
    ("rocket.jpg", "The rocket lifts off calmly"),
    ("sea.jpg", "Waves roll on the beach"),
)


async def made_before(
    ledger: Ledger, number: int, folder: Path, *, ended: TaskStatus = "succeed"
) -> str:
    """One task with its file in the folder; its id."""
    picture, prompt = WISHES[number % len(WISHES)]
    request = {"mode": "std", "duration": "5"}
    row, _ = await ledger.reserve(
        NewRow(
            provider="sandbox",
            base_url=SANDBOX_URL,
            product="image2video",
            digest=f"digest {number}",
            take=1,
            model_name="kling-v2-5-turbo",
            prompt=prompt,
            request=request,
            estimate_units=1.5,
            pictures=(picture,),
            sandbox=True,
        )
    )
    task_id = str(941_210_661_388_174_658 + 7919 * number)
    address = f"{SANDBOX_URL}/videos/image2video/{task_id}.mp4?signature={'5' * 64}"
    videos = (Video(address, 5.041),) if ended == "succeed" else ()
    row = await ledger.record(
        row.id, Task(task_id, ended, units=1.5 if videos else 0, videos=videos)
    )
    if videos:
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / name_of(row)
        path.write_bytes(b"film")
        await ledger.saved(row.id, path, 4, hashlib.sha256(b"film").hexdigest())
    return task_id
