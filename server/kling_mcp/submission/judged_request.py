"""A request judged for its provider: its verdict, its price, and the ledger row that it gets."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from kling_mcp.inputs import Picture
from kling_mcp.ledger import NewRow
from kling_mcp.principal import Principal
from kling_mcp.providers.configured import Configured
from kling_mcp.providers.pool import Clients
from kling_mcp.submission.create_body import CreateBody, render_fields
from kling_tools.faults import Fault, Verdict
from kling_tools.requests.arguments import SpendingChoices
from kling_tools.requests.drafts import Draft
from kling_tools.rules.capabilities import Capabilities
from kling_tools.rules.reviews import Review, review
from kling_tools.service import SubmitArguments

__all__ = ["JudgedRequest", "judge_request"]

PROVIDER_RULES = frozenset(
    {
        "lost_at_provider",
        "product_of_provider",
        "model_of_product",
        "least_images",
        "documented_length",
    }
)
"""Rules that come from a provider's row, so that another provider may take the request."""

AS_BYTES = ("data", "base64")
"""Kinds of pictures that are nowhere but in the call."""


@dataclass(frozen=True)
class JudgedRequest:
    """A judged request. `pictures` are its open pictures, none before they are opened.

    `callback_base` is the address at which providers report changes, before a row's callback key;
    it is empty when this server cannot be reached.
    """

    arguments: SubmitArguments
    review: Review
    provider: Configured
    principal: Principal
    callback_base: str = ""
    pictures: Sequence[Picture] = ()

    @cached_property
    def body(self) -> CreateBody:
        """The body, rendered once. `<field>` stands for each picture that is not open."""
        shown: dict[str, object] = {name: f"<{name}>" for name, _ in self.arguments.pictures()}
        shown |= {picture.field: picture for picture in self.pictures}
        fields = render_fields(self.review, shown)
        calls_us = self.provider.row.callbacks and "callback_url" not in fields
        return CreateBody(fields, self.callback_base if calls_us else "")

    @cached_property
    def external_task_id(self) -> str:
        """The id that the caller chose, as it is sent; empty when the caller chose none."""
        return self.principal.external_id(self.arguments.external_task_id)

    @cached_property
    def new_row(self) -> NewRow:
        """What the ledger keeps. The digest covers everything that makes the video what it is,
        and whose it is."""
        whose = [self.principal.name] if self.principal.name else []
        text = json.dumps(
            [self.review.product, self.body.identity(), *whose], sort_keys=True, ensure_ascii=False
        )
        return NewRow(
            provider=self.provider.name,
            base_url=self.provider.base_url,
            product=self.review.product,
            digest=hashlib.sha256(text.encode()).hexdigest(),
            take=self.arguments.take,
            model_name=self.review.model_name,
            prompt=self.arguments.prompt or _first_shot(self.arguments),
            request=self.body.labelled(),
            arguments=self._repeatable,
            estimate_units=self.review.estimate.units,
            external_task_id=self.external_task_id,
            principal=self.principal.name,
            pictures=tuple(p.label for p in self.pictures if "mask" not in p.field),
        )

    @property
    def _repeatable(self) -> dict[str, Any]:
        """The arguments with which the request can be made again, with None for each picture that
        was given as bytes."""
        left_out = {*SpendingChoices.model_fields, "external_task_id"}
        arguments = self.arguments.model_dump(mode="json", exclude_defaults=True, exclude=left_out)
        addresses = {picture.field for picture in self.pictures if picture.kind not in AS_BYTES}
        inline = {value for name, value in self.arguments.pictures() if name not in addresses}

        def kept(value: Any) -> Any:
            if isinstance(value, dict):
                return {name: kept(part) for name, part in value.items()}
            if isinstance(value, list):
                return [kept(part) for part in value]
            return None if isinstance(value, str) and value in inline else value

        return {name: kept(value) for name, value in arguments.items()}


def judge_request(
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
    verdict = judged.verdict
    if not known:
        use = " or ".join(clients.names)
        message = f"{asked} is not configured."
        verdict.faults.append(Fault("provider", "provider_unknown", message, use))
    if any(fault.rule in PROVIDER_RULES for fault in (*verdict.faults, *verdict.warnings)):
        others = {
            name: review(draft, capabilities, clients.configured(name).row.terms).verdict
            for name in clients.names
            if name != provider.name
        }
        verdict.faults[:] = [_with_able_providers(fault, others) for fault in verdict.faults]
        verdict.warnings[:] = [_with_able_providers(fault, others) for fault in verdict.warnings]
    return JudgedRequest(draft.arguments, judged, provider, principal, callback_base)


def _with_able_providers(fault: Fault, others: Mapping[str, Verdict]) -> Fault:
    """The fault with advice to use a provider that takes the request, if there is one and the
    fault comes from this provider's row."""
    if fault.rule not in PROVIDER_RULES:
        return fault
    able = [f'provider "{name}"' for name, other in others.items() if _is_able(other, fault)]
    return replace(fault, use=" or ".join(part for part in (*able, fault.use) if part))


def _is_able(other: Verdict, fault: Fault) -> bool:
    same = any((w.field, w.rule) == (fault.field, fault.rule) for w in other.warnings)
    return not same and not any(f.rule in PROVIDER_RULES for f in other.faults)


def _first_shot(arguments: SubmitArguments) -> str:
    shots = getattr(arguments, "multi_prompt", [])
    return shots[0].prompt if shots else ""
