"""One request on its way: what was asked, how it was judged, for which provider, with pictures."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from kling_mcp.clients import Clients
from kling_mcp.configuration import Configured
from kling_mcp.images import Picture
from kling_mcp.ledger import Wish
from kling_mcp.principal import Principal
from kling_mcp.wire import create_body
from kling_tools.capabilities import Capabilities
from kling_tools.drafts import Draft
from kling_tools.faults import Fault, Verdict
from kling_tools.reviews import Review, review
from kling_tools.service import SubmitArguments

__all__ = ["Case", "judge"]

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
class Case:
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

    def wish(self) -> Wish:
        """What the ledger keeps: its digest covers everything that makes the video what it is, and
        whose it is."""
        shown = {picture.field: picture.label for picture in self.pictures}
        hashes = {picture.field: picture.sha256 for picture in self.pictures}
        essence = {k: v for k, v in self.body(hashes).items() if k not in NOT_PART_OF_THE_WISH}
        whose = [self.principal.name] if self.principal.name else []
        text = json.dumps(
            [self.review.product, essence, *whose], sort_keys=True, ensure_ascii=False
        )
        return Wish(
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
) -> Case:
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
    return Case(draft.arguments, judged, provider, capabilities, principal, callback_base)


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
