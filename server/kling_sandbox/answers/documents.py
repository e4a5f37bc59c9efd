"""Tasks, refusals and the signed addresses of videos, as Kling writes them."""

from __future__ import annotations

import hashlib
import hmac
import re
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from kling_sandbox.answers.refusals import Refusal
from kling_sandbox.orders import Asset, Picture, Task

__all__ = [
    "PACK_ID",
    "TAGS",
    "KlingDocuments",
    "VideoLinks",
    "charge",
    "dollars",
    "envelope",
    "refusal_document",
    "request_id",
    "video_id",
    "video_seconds",
]


_NAME = re.compile(r"(?P<task_id>[0-9]+)-0_(?:raw|watermark)_video_1\.mp4")


@dataclass(frozen=True, slots=True)
class VideoLinks:
    """Makes and checks addresses below `public_url`; `key` returns the signing key."""

    public_url: str
    key: Callable[[], bytes]

    def url(self, product: str, task_id: str, expires: int, *, marked: bool = False) -> str:
        """The address of a task's video until the Unix second `expires`."""
        kind = "watermark" if marked else "raw"
        path = f"/videos/{product}/{task_id}-0_{kind}_video_1.mp4"
        return f"{self.public_url}{path}?expires={expires}&sig={self._signature(path, expires)}"

    def task_id(self, path: str) -> str | None:
        """The id of the task whose video has that path; None for any other path."""
        found = _NAME.fullmatch(path.rpartition("/")[2])
        return found["task_id"] if found else None

    def holds(self, path: str, expires: str, signature: str, now: float) -> bool:
        """Whether this sandbox signed the address and it has not expired."""
        if not (expires.isascii() and expires.isdigit() and len(expires) <= 12):
            return False
        expected = self._signature(path, int(expires))
        return hmac.compare_digest(signature.encode(), expected.encode()) and now < int(expires)

    def _signature(self, path: str, expires: int) -> str:
        signed = f"{path}\n{expires}".encode()
        return hmac.new(self.key(), signed, hashlib.sha256).hexdigest()[:32]


_FRAMES_PER_S = 24
_NEW_STATUS = {"succeed": "succeeded"}

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

PACK_ID = "sandbox-pack-1"
_RESOLUTIONS = {"std": "720p", "pro": "1080p", "": "1080p", "4k": "4k"}
USD_PER_UNIT = 0.14
"""Kling's list price outside China."""


def dollars(units: float) -> str:
    """What the units cost an account that pays from its balance, in USD."""
    return f"{units * USD_PER_UNIT:.4f}".rstrip("0").rstrip(".")


def video_id(task_id: str) -> str:
    """The id of the video that a task makes."""
    return str(uuid.uuid5(uuid.NAMESPACE_OID, task_id))


class KlingDocuments:
    """Tasks as Kling writes them. A video's address is valid for `url_ttl_s` seconds."""

    def __init__(self, links: VideoLinks, url_ttl_s: float) -> None:
        self._links = links
        self._url_ttl_s = url_ttl_s

    def record(self, task: Task, now: float, *, callback: bool = False) -> dict[str, Any]:
        """The task in the shape of the new standard, whatever made it.

        A callback names the parts of an element `materials`, a query `references`.
        """
        status = task.status(now)
        shown = self.new_receipt(task) | {
            "status": _NEW_STATUS.get(status, status),
            "message": task.failure if status == "failed" else "",
            "update_time": int(task.updated_at(now) * 1000),
            "outputs": [],
            "billing": self._billing(task, now),
        }
        if status == "succeed":
            made = task.order.made
            shown["outputs"] = [
                self._output(made, deleted=task.deleted, callback=callback)
                if made
                else {"type": "video", **self._video(task)}
            ]
        return shown

    def new_receipt(self, task: Task) -> dict[str, Any]:
        """The answer of the new standard to a create."""
        created = int(task.created_at * 1000)
        receipt: dict[str, Any] = {
            "id": task.public_id,
            "status": "submitted",
            "message": "",
            "create_time": created,
            "update_time": created,
        }
        if task.order.external_task_id:
            receipt["external_id"] = task.order.external_task_id
        return receipt

    def callback(self, task: Task, now: float) -> dict[str, Any]:
        """The body of a callback, in the shape of the standard that made the task."""
        if task.order.standard == "new":
            return self.record(task, now, callback=True)
        return self.task(task, task.task_id, now)

    def asset(self, asset: Asset, *, deleted: bool = False) -> dict[str, Any]:
        """An element or a voice as the lists of the old standard show it."""
        if asset.kind == "voice":
            return self._voice(asset)
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
            shown["element_voice_info"] = self._voice(Asset("voice", asset.voice, asset.voice_name))
        return shown

    def picture_url(self, picture: Picture) -> str:
        """Where a picture can be seen."""
        return picture.url or f"{self._links.public_url}/pictures/{picture.name}"

    def _voice(self, voice: Asset) -> dict[str, Any]:
        return {
            "voice_id": voice.asset_id,
            "voice_name": voice.name,
            "trial_url": f"{self._links.public_url}/voices/{voice.asset_id}.wav",
            "owned_by": voice.owner,
        }

    def _output(self, made: Asset, *, deleted: bool, callback: bool) -> dict[str, Any]:
        """An element or a voice as the new standard shows it."""
        status = {"owned_by": made.owner, "status": "deleted" if deleted else "succeeded"}
        if made.kind == "voice":
            voice = self._voice(made)
            return {
                "type": "voice",
                "id": made.asset_id,
                "name": made.name,
                "url": voice["trial_url"],
                **status,
            }
        refer = "refer" if callback else "reference"
        parts = [
            {"type": "image", "role": refer if place else "frontal", "url": self.picture_url(p)}
            for place, p in enumerate(made.pictures)
        ]
        parts += [{"type": "video", "role": refer, "url": url} for url in made.videos]
        return {
            "type": "element",
            "id": made.asset_id,
            "name": made.name,
            "description": made.description,
            "element_type": "video_character_elements" if made.videos else "multi_image_elements",
            "materials" if callback else "references": parts,
            "tags": [
                {"id": int(tag[2:]), "name": TAGS[tag], "description": ""} for tag in made.tags
            ],
            **status,
        }

    def _billing(self, task: Task, now: float) -> list[dict[str, Any]]:
        """What the task was charged; empty while it runs, and for what costs nothing."""
        charged = task.charged(now)
        if not charged:
            return []
        if task.order.cash:
            return [
                {
                    "charge_type": "cash",
                    "cash_type": "balance",
                    "amount": dollars(charged),
                    "currency": "USD",
                    "list_price": dollars(charged),
                }
            ]
        return [{"charge_type": "unit", "amount": f"{charged:g}", "package_type": "video"}]

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
                quota = {"quota": dollars(charged), "list_price": dollars(charged)}
                shown["final_balance_deduction"] = quota
            else:
                shown["final_unit_deduction"] = f"{charged:g}"
        made = task.order.made
        if status == "succeed" and made:
            shown["task_result"] = {f"{made.kind}s": [self.asset(made, deleted=task.deleted)]}
        elif status == "succeed":
            shown["task_result"] = {"videos": [self._video(task)]}
        return shown

    def video_url(self, task: Task) -> str:
        """The signed address of the task's video."""
        return str(self._video(task)["url"])

    def _outline(self, task: Task, task_id: str, now: float) -> dict[str, Any]:
        outline: dict[str, Any] = {"task_id": task_id, "task_status": task.status(now)}
        if task.order.external_task_id:
            outline["task_info"] = {"external_task_id": task.order.external_task_id}
        outline["created_at"] = int(task.created_at * 1000)
        outline["updated_at"] = int(task.updated_at(now) * 1000)
        return outline

    def _video(self, task: Task) -> dict[str, str]:
        product = task.order.product
        expires = int(task.ended_at + self._url_ttl_s)
        video = {
            "id": video_id(task.task_id),
            "url": self._links.url(product, task.task_id, expires),
            "duration": video_seconds(task.order.duration),
        }
        if task.order.watermark:
            video["watermark_url"] = self._links.url(product, task.task_id, expires, marked=True)
        return video


def charge(task: Task, units: float, left: float) -> dict[str, Any]:
    """One charge as `/account/billing/…` shows it, with the units `left` before it."""
    order = task.order
    shown: dict[str, Any] = {
        "task_id": task.public_id,
        "api_key_name": "sandbox",
        "product_function": order.product,
        "model_name": order.model,
        "resolution": _RESOLUTIONS.get(order.mode, ""),
        "duration": "" if order.made else video_seconds(order.duration)[:-1],
        "refer_video_input": order.video,
        "video_sound": "native" if order.sound else "off",
        "voice_control": order.voice,
        "deduction_time": str(int(task.ended_at * 1000)),
    }
    if order.cash:
        return shown | {
            "cash_type": "balance",
            "balance_before_deduction": dollars(left),
            "deduction_amount": dollars(units),
            "balance_after_deduction": dollars(left - units),
            "list_price": dollars(units),
            "currency": "USD",
        }
    return shown | {
        "package_id": PACK_ID,
        "unit_before_deduction": f"{left:.10g}",
        "deduction_amount": f"{units:g}",
        "unit_after_deduction": f"{left - units:.10g}",
    }


def video_seconds(asked: int) -> str:
    """The duration that Kling reports for a clip of `asked` seconds.

    A clip has one frame more than its seconds at 24 frames a second, so 5 becomes "5.041". The
    sandbox's own files have the same length.
    """
    return f"{(asked * _FRAMES_PER_S + 1) * 1000 // _FRAMES_PER_S / 1000:.3f}"


def envelope(data: object, message: str = "SUCCEED") -> dict[str, Any]:
    """The document of a success, with `data`."""
    return {"code": 0, "message": message, "request_id": request_id(), "data": data}


def refusal_document(refusal: Refusal) -> dict[str, Any]:
    """The document of a refusal: a request id and no data."""
    return {"code": refusal.code, "message": refusal.message, "request_id": request_id()}


def request_id() -> str:
    """A new request id."""
    return str(uuid.uuid4())
