"""Tasks, charges and what they made in the shape of the new standard and of the billing pages."""

from __future__ import annotations

from typing import Any

from kling_sandbox.answers.documents import (
    TAGS,
    KlingDocuments,
    amount_text,
    dollars,
    seconds_text,
)
from kling_sandbox.orders import Asset, Task

__all__ = ["PACK_ID", "PACK_NAME", "KlingRecords", "charge"]

PACK_ID = "sandbox-pack-1"
PACK_NAME = "Sandbox-Video-10000Units-20Con-12Months"
"""The name of the resource pack, with the parallel tasks that it allows, as Kling writes it."""

_RESOLUTIONS = {"std": "720p", "pro": "1080p", "": "1080p", "4k": "4k"}
_NEW_STATUS = {"succeed": "succeeded"}


class KlingRecords:
    """The records of tasks, whichever standard made them."""

    def __init__(self, documents: KlingDocuments) -> None:
        self._documents = documents

    def record(self, task: Task, now: float, *, callback: bool = False) -> dict[str, Any]:
        """The task in the shape of the new standard, whatever made it.

        A callback names the parts of an element `materials`, a query `references`.
        """
        status = task.status(now)
        shown = self.receipt(task) | {
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
                else {"type": "video", **self._documents.video(task)}
            ]
            if task.order.images:
                shown["outputs"] = [
                    {"type": "image", "url": image["url"], "group_id": ""}
                    for image in self._documents.images(task)
                ]
        return shown

    def receipt(self, task: Task) -> dict[str, Any]:
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
        return self._documents.task(task, task.task_id, now)

    def _output(self, made: Asset, *, deleted: bool, callback: bool) -> dict[str, Any]:
        """An element or a voice as the new standard shows it."""
        status = {"owned_by": made.owner, "status": "deleted" if deleted else "succeeded"}
        if made.kind == "voice":
            voice = self._documents.voice(made)
            return {
                "type": "voice",
                "id": made.asset_id,
                "name": made.name,
                "url": voice["trial_url"],
                **status,
            }
        refer = "refer" if callback else "reference"
        parts = [
            {
                "type": "image",
                "role": refer if place else "frontal",
                "url": self._documents.picture_url(p),
            }
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
            paid = amount_text(dollars(charged, image=task.order.images > 0))
            return [
                {
                    "charge_type": "cash",
                    "cash_type": "balance",
                    "amount": paid,
                    "currency": "USD",
                    "list_price": paid,
                }
            ]
        pack = "image" if task.order.images else "video"
        return [{"charge_type": "unit", "amount": f"{charged:g}", "package_type": pack}]


def charge(task: Task, paid: float, left: float) -> dict[str, Any]:
    """One charge as `/account/billing/…` shows it: what was `paid` of what was `left` before it, in
    units, or in dollars of a balance."""
    order = task.order
    shown: dict[str, Any] = {
        "task_id": task.public_id,
        "api_key_name": "sandbox",
        "product_function": order.product,
        "model_name": order.model,
        "resolution": _RESOLUTIONS.get(order.mode, ""),
        "duration": seconds_text(order.frames)[:-1] if order.duration else "",
        "refer_video_input": order.video,
        "video_sound": "native" if order.sound else "off",
        "voice_control": order.voice,
        "deduction_time": str(int(task.ended_at * 1000)),
    }
    if order.cash:
        return shown | {
            "cash_type": "balance",
            "balance_before_deduction": amount_text(left),
            "deduction_amount": amount_text(paid),
            "balance_after_deduction": amount_text(left - paid),
            "list_price": amount_text(paid),
            "currency": "USD",
        }
    return shown | {
        "package_id": PACK_ID,
        "unit_before_deduction": f"{left:.10g}",
        "deduction_amount": f"{paid:g}",
        "unit_after_deduction": f"{left - paid:.10g}",
    }
