"""Tasks, refusals and the signed addresses of videos, as Kling writes them."""

from __future__ import annotations

import hashlib
import hmac
import re
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from kling_sandbox.answers.refusals import Refusal
from kling_sandbox.orders import FPS, Asset, Picture, Task

__all__ = [
    "TAGS",
    "KlingDocuments",
    "VideoLinks",
    "amount_text",
    "dollars",
    "envelope",
    "refusal_document",
    "request_id",
    "seconds_text",
    "video_id",
]


_NAME = re.compile(
    r"(?P<task_id>[0-9]+)-(?P<number>[0-9])_(?:raw|watermark)_(?:video_1\.mp4|image_1\.png)"
)


@dataclass(frozen=True, slots=True)
class VideoLinks:
    """Makes and checks addresses below `public_url`; `key` returns the signing key."""

    public_url: str
    key: Callable[[], bytes]

    def url(
        self,
        product: str,
        task_id: str,
        expires: int,
        *,
        marked: bool = False,
        image: int | None = None,
    ) -> str:
        """The address of a task's video, or of its picture with that index, until the Unix second
        `expires`, named as in Kling's."""
        kind = "watermark" if marked else "raw"
        file = "video_1.mp4" if image is None else "image_1.png"
        path = f"/videos/{product}/{task_id}-{image or 0}_{kind}_{file}"
        return f"{self.public_url}{path}?Expires={expires}&sig={self._signature(path, expires)}"

    def task_id(self, path: str) -> str | None:
        """The id of the task whose video has that path; None for any other path."""
        found = _NAME.fullmatch(path.rpartition("/")[2])
        return found["task_id"] if found else None

    def number(self, path: str) -> int:
        """The index of the result with that path."""
        found = _NAME.fullmatch(path.rpartition("/")[2])
        return int(found["number"]) if found else 0

    def holds(self, path: str, expires: str, signature: str, now: float) -> bool:
        """Whether this sandbox signed the address and it has not expired."""
        if not (expires.isascii() and expires.isdigit() and len(expires) <= 12):
            return False
        expected = self._signature(path, int(expires))
        return hmac.compare_digest(signature.encode(), expected.encode()) and now < int(expires)

    def _signature(self, path: str, expires: int) -> str:
        signed = f"{path}\n{expires}".encode()
        return hmac.new(self.key(), signed, hashlib.sha256).hexdigest()[:32]


TAGS = {
    "o_101": "Hottest",
    "o_102": "Character",
    "o_103": "Animal",
    "o_104": "Item",
    "o_105": "Costume",
    "o_106": "Scene",
    "o_107": "Effect",
    "o_108": "Others",
}
"""The tags of elements (Kling's page)."""

USD_PER_UNIT = 0.14
USD_PER_IMAGE_UNIT = 0.0035
"""Kling's list prices outside China [Kling's price page, 2026-09-20]."""


def dollars(units: float, *, image: bool = False) -> float:
    """What units, or image units, cost an account that pays from its balance, in USD."""
    return round(units * (USD_PER_IMAGE_UNIT if image else USD_PER_UNIT), 4)


def amount_text(usd: float) -> str:
    """The dollars as Kling writes them."""
    return f"{usd:.4f}".rstrip("0").rstrip(".")


def video_id(task_id: str) -> str:
    """The id of the video that a task makes."""
    return str(uuid.uuid5(uuid.NAMESPACE_OID, task_id))


class KlingDocuments:
    """Tasks as Kling writes them. A video's address is valid for `url_ttl_s` seconds."""

    def __init__(self, links: VideoLinks, url_ttl_s: float) -> None:
        self._links = links
        self._url_ttl_s = url_ttl_s

    def asset(self, asset: Asset, *, deleted: bool = False) -> dict[str, Any]:
        """An element or a voice as the lists of the old standard show it."""
        if asset.kind == "voice":
            return self.voice(asset)
        shown: dict[str, Any] = {
            "element_id": int(asset.asset_id),
            "element_name": asset.name,
            "element_description": asset.description,
            "reference_type": "video_refer" if asset.videos else "image_refer",
            "tag_list": [{"id": tag, "name": TAGS[tag]} for tag in asset.tags],
            "owned_by": asset.owner,
            "status": "deleted" if deleted else "succeed",
        }
        if asset.videos:
            refers = [{"video_url": url} for url in asset.videos]
            shown["element_video_list"] = {"refer_videos": refers}
        else:
            front, *others = (self.picture_url(picture) for picture in asset.pictures)
            refers = [{"image_url": url} for url in others]
            shown["element_image_list"] = {"frontal_image": front, "refer_images": refers}
        if asset.voice:
            shown["element_voice_info"] = self.voice(Asset("voice", asset.voice, asset.voice_name))
        return shown

    def picture_url(self, picture: Picture) -> str:
        """Where a picture can be seen."""
        return picture.url or f"{self._links.public_url}/pictures/{picture.name}"

    def voice(self, voice: Asset) -> dict[str, Any]:
        """A voice as the lists of the old standard show it."""
        return {
            "voice_id": voice.asset_id,
            "voice_name": voice.name,
            "trial_url": f"{self._links.public_url}/voices/{voice.asset_id}.wav",
            "owned_by": voice.owner,
        }

    def receipt(self, task: Task, task_id: str) -> dict[str, Any]:
        """The answer to a create: always `submitted`, however fast the task is."""
        return self._outline(task, task_id, task.created_at) | {"task_status": "submitted"}

    def task(self, task: Task, task_id: str, now: float) -> dict[str, Any]:
        """The answer to a query. A task has a `task_result` only after it has succeeded."""
        shown = self._outline(task, task_id, now)
        status = task.status(now)
        shown["task_status_msg"] = task.failure if status == "failed" else ""
        shown["watermark_info"] = {"enabled": task.order.watermark}
        charged = task.charged(now)
        if charged is not None:
            if task.order.cash:
                paid = amount_text(dollars(charged, image=task.order.images > 0))
                quota = {"quota": paid, "list_price": paid}
                shown["final_balance_deduction"] = quota
            else:
                shown["final_unit_deduction"] = f"{charged:g}"
        made = task.order.made
        if status == "succeed" and made:
            shown["task_result"] = {f"{made.kind}s": [self.asset(made, deleted=task.deleted)]}
        elif status == "succeed" and task.order.images:
            shown["task_result"] = {"images": self.images(task)}
        elif status == "succeed":
            shown["task_result"] = {"videos": [self.video(task)]}
        return shown

    def video_url(self, task: Task) -> str:
        """The signed address of the task's video."""
        return str(self.video(task)["url"])

    def _outline(self, task: Task, task_id: str, now: float) -> dict[str, Any]:
        outline: dict[str, Any] = {"task_id": task_id, "task_status": task.status(now)}
        if task.order.external_task_id:
            outline["task_info"] = {"external_task_id": task.order.external_task_id}
        outline["created_at"] = int(task.created_at * 1000)
        outline["updated_at"] = int(task.updated_at(now) * 1000)
        return outline

    def images(self, task: Task) -> list[dict[str, Any]]:
        """The pictures of a task that has succeeded."""
        product, expires = task.order.product, int(task.ended_at + self._url_ttl_s)
        link = partial(self._links.url, product, task.task_id, expires)
        marked = task.order.watermark
        return [
            {"index": index, "url": link(image=index)}
            | ({"watermark_url": link(image=index, marked=True)} if marked else {})
            for index in range(task.order.images)
        ]

    def video(self, task: Task) -> dict[str, str]:
        """The video of a task that has succeeded."""
        product = task.order.product
        expires = int(task.ended_at + self._url_ttl_s)
        video = {
            "id": video_id(task.task_id),
            "url": self._links.url(product, task.task_id, expires),
            "duration": seconds_text(task.order.frames),
        }
        if task.order.watermark:
            video["watermark_url"] = self._links.url(product, task.task_id, expires, marked=True)
        return video


def seconds_text(frames: int) -> str:
    """The duration that Kling reports for so many frames: seconds with three places, cut off."""
    return f"{frames * 1000 // FPS / 1000:.3f}"


def envelope(data: object, message: str = "SUCCEED") -> dict[str, Any]:
    """The document of a success, with `data`."""
    return {"code": 0, "message": message, "request_id": request_id(), "data": data}


def refusal_document(refusal: Refusal) -> dict[str, Any]:
    """The document of a refusal: a request id and no data."""
    return {"code": refusal.code, "message": refusal.message, "request_id": request_id()}


def request_id() -> str:
    """A new request id."""
    return str(uuid.uuid4())
