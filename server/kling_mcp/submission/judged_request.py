"""A request judged for its provider, and the body that it becomes on the wire, field by field."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from kling_mcp.inputs import Picture
from kling_mcp.ledger import NewRow
from kling_mcp.principal import Principal
from kling_mcp.providers.configured import Configured
from kling_mcp.providers.pool import Clients
from kling_tools.faults import Fault, Verdict
from kling_tools.products import PRODUCTS, Product, ProductEntry
from kling_tools.requests.drafts import Draft
from kling_tools.requests.requests import (
    ImageToVideoRequest,
    MultiImageToVideoRequest,
    with_picture_references,
)
from kling_tools.rules.capabilities import Capabilities
from kling_tools.rules.reviews import Review, review
from kling_tools.service import SubmitArguments

__all__ = ["BODIES", "JudgedRequest", "create_body", "judge"]


def create_body(
    review: Review,
    pictures: Mapping[str, Any],
    capabilities: Capabilities,
    external_task_id: str,
) -> dict[str, Any]:
    """The fields of the body, those that ask for nothing left out.

    `pictures` maps field paths (`image`, `dynamic_masks[0].mask`) to what is sent for them.
    `model_name` and `duration` (as text) are always sent: Kling's default model is retired and
    it refuses a number.
    """
    request = review.request
    body: dict[str, Any] = {"model_name": review.model_name}
    body |= BODIES[review.product](request, pictures, PRODUCTS[review.product])
    body |= _masks(request.dynamic_masks, pictures)
    body |= {
        "negative_prompt": request.negative_prompt,
        "mode": review.mode,
        "duration": request.duration,
        "sound": _sound(review, capabilities),
        "cfg_scale": request.cfg_scale,
        "watermark_info": request.watermark_info and request.watermark_info.model_dump(),
        "callback_url": request.callback_url,
        "external_task_id": external_task_id,
    }
    return {name: value for name, value in body.items() if value not in (None, "", [])}


def _frames(
    request: ImageToVideoRequest, pictures: Mapping[str, Any], _: ProductEntry
) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "image": pictures.get("image"),
        "image_tail": pictures.get("image_tail"),
        "prompt": request.prompt,
    }
    if request.multi_shot:
        fields |= {
            "multi_shot": True,
            "shot_type": request.shot_type,
            "multi_prompt": [shot.model_dump() for shot in request.multi_prompt],
        }
    if request.camera_control:
        camera = request.camera_control
        fields["camera_control"] = {"type": camera.type} | (
            {"config": camera.config.model_dump()} if camera.type == "simple" else {}
        )
    return fields | {
        "element_list": [{"element_id": number} for number in request.element_list],
        "voice_list": [{"voice_id": voice} for voice in request.voice_list],
    }


def _picture_list(
    request: MultiImageToVideoRequest, pictures: Mapping[str, Any], product: ProductEntry
) -> dict[str, Any]:
    listed = [pictures[f"image_list[{place}]"] for place in range(len(request.image_list))]
    prompt = request.prompt
    return {
        "image_list": [{product.picture_key: picture} for picture in listed],
        "prompt": with_picture_references(prompt, len(listed))
        if product.names_pictures
        else prompt,
        "aspect_ratio": request.aspect_ratio,
    }


BODIES: Mapping[Product, Callable[[Any, Mapping[str, Any], ProductEntry], dict[str, Any]]] = {
    "image2video": _frames,
    "omni-video": _picture_list,
    "multi-image2video": _picture_list,
}
"""What each product has in its body that others do not."""


def _masks(dynamic_masks: Any, pictures: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "static_mask": pictures.get("static_mask"),
        "dynamic_masks": [
            {
                "mask": pictures[f"dynamic_masks[{place}].mask"],
                "trajectories": [point.model_dump() for point in group.trajectories],
            }
            for place, group in enumerate(dynamic_masks)
        ],
    }


def _sound(review: Review, capabilities: Capabilities) -> str | None:
    """`off` is said only to a model that could make sound: others do not know the field."""
    row = capabilities.product_row(review.model_name, review.product)
    if review.request.sound == "on" or (row and row.patterns("sound")):
        return review.request.sound
    return None


NOT_PART_OF_THE_WISH = frozenset({"external_task_id", "callback_url"})
"""Fields that do not change which video is made."""

OF_THE_PROVIDER = frozenset(
    {
        "lost_at_provider",
        "product_of_provider",
        "model_of_product",
        "least_images",
        "documented_length",
    }
)
"""Rules that another provider may not have."""


@dataclass(frozen=True, slots=True)
class JudgedRequest:
    """A judged request with its opened pictures. A row's callback key behind `callback_base` is
    where its provider may say that it changed; empty where nobody listens."""

    arguments: SubmitArguments
    review: Review
    provider: Configured
    capabilities: Capabilities
    principal: Principal
    callback_base: str = ""
    pictures: Sequence[Picture] = ()

    def body(
        self, pictures: Mapping[str, Any], external_task_id: str = "", callback_key: str = ""
    ) -> dict[str, Any]:
        """The fields of the create; `pictures` maps field paths to what stands for them. A
        callback_url of the caller's own stands; else ours is filled in where there is a key and
        the provider calls back."""
        body = create_body(self.review, pictures, self.capabilities, external_task_id)
        if callback_key and self.callback_base and self.provider.row.callbacks:
            body.setdefault("callback_url", f"{self.callback_base}/{callback_key}")
        return body

    @property
    def external_task_id(self) -> str:
        """The id that the caller chose, as it is sent; empty where they chose none."""
        return self.principal.external_id(self.arguments.external_task_id)

    def new_row(self) -> NewRow:
        """What the ledger keeps: its digest covers everything that makes the video what it is, and
        whose it is."""
        shown = {picture.field: picture.label for picture in self.pictures}
        hashes = {picture.field: picture.sha256 for picture in self.pictures}
        essence = {k: v for k, v in self.body(hashes).items() if k not in NOT_PART_OF_THE_WISH}
        whose = [self.principal.name] if self.principal.name else []
        text = json.dumps(
            [self.review.product, essence, *whose], sort_keys=True, ensure_ascii=False
        )
        return NewRow(
            provider=self.provider.name,
            base_url=self.provider.base_url,
            product=self.review.product,
            digest=hashlib.sha256(text.encode()).hexdigest(),
            take=self.arguments.take,
            model_name=self.review.model_name,
            prompt=self.arguments.prompt or _first_shot(self.arguments),
            request=self.body(shown),
            estimate_units=self.review.estimate.units,
            external_task_id=self.external_task_id,
            principal=self.principal.name,
        )


def judge(
    draft: Draft[SubmitArguments],
    clients: Clients,
    capabilities: Capabilities,
    principal: Principal,
    callback_base: str = "",
) -> JudgedRequest:
    """Choose the provider and judge the request for it; raises nothing for a bad request."""
    asked = draft.arguments.provider or clients.default.name
    known = asked in clients.names
    provider = clients.configured(asked) if known else clients.default
    judged = review(draft, capabilities, provider.row.terms)
    if not known:
        use = " or ".join(clients.names)
        message = f"{asked} is not configured."
        judged.verdict.faults.append(Fault("provider", "provider_unknown", message, use))
    found = judged.verdict
    if any(fault.rule in OF_THE_PROVIDER for fault in (*found.faults, *found.warnings)):
        others = {
            name: review(draft, capabilities, clients.configured(name).row.terms).verdict
            for name in clients.names
            if name != provider.name
        }
        found.faults[:] = [_with_others(fault, others) for fault in found.faults]
        found.warnings[:] = [_with_others(warning, others) for warning in found.warnings]
    return JudgedRequest(draft.arguments, judged, provider, capabilities, principal, callback_base)


def _with_others(fault: Fault, others: Mapping[str, Verdict]) -> Fault:
    """Where this provider would lose a field or has no such route, those that would do are
    named."""
    if fault.rule not in OF_THE_PROVIDER:
        return fault
    able = [f'provider "{name}"' for name, other in others.items() if _is_able(other, fault)]
    return replace(fault, use=" or ".join(part for part in (*able, fault.use) if part))


def _is_able(other: Verdict, fault: Fault) -> bool:
    same = any((w.field, w.rule) == (fault.field, fault.rule) for w in other.warnings)
    return not same and not any(f.rule in OF_THE_PROVIDER for f in other.faults)


def _first_shot(arguments: SubmitArguments) -> str:
    shots = getattr(arguments, "multi_prompt", [])
    return shots[0].prompt if shots else ""
