"""The providers that a sandbox plays, one row each, after their documents and sources.

A dialect decides which products have routes, how ids are made, which fields are dropped before the
body reaches Kling, and how answers look. State, rules and films are the same for all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, get_args

from kling_sandbox.answers.gateway_errors import FORWARDING, NEW_API, OLD_NEW_API, GatewayErrors
from kling_sandbox.answers.refusals import refused
from kling_sandbox.answers.styles import EnvelopeStyle, Stage, Style, WrapperStyle
from kling_sandbox.config import KLING_RULES, ProviderRules
from kling_sandbox.model_table import MODELS, Product
from kling_sandbox.state import KLING

__all__ = ["GATEWAYS", "OFFICIAL", "Dialect", "forwarded_body"]

_PRODUCTS: tuple[Product, ...] = get_args(Product)
_GATEWAY_RETIRED = {"image2video": ("kling-v1",), "text2video": ("kling-v1",)}
"""Gateways still serve the other models that Kling has discontinued (their pages, 2026)."""

_GATEWAY_RULES = ProviderRules(retired=_GATEWAY_RETIRED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """One provider.

    `bases` are its base URLs below the sandbox's; `prefix` follows them. `creates` are the products
    that it makes, `queries` the paths that find any of its tasks. `tokens`: it accepts a JWT too.
    `external_ids`: it finds a task by the caller's id too. `rewrites_ids`: it makes ids of its own.
    `library`: it has routes for elements and voices; elsewhere any id of one is taken unseen.
    `needs_model`: it refuses a request without a model of Kling's. `fills` are fields that it adds
    when missing, `drops` those that it loses silently. Only Kling has lists.
    """

    name: str
    bases: tuple[str, ...]
    prefix: str = "/kling/v1/videos"
    creates: tuple[Product, ...]
    queries: tuple[str, ...]
    style: Style
    tokens: bool = False
    external_ids: bool = False
    rewrites_ids: bool = False
    library: bool = False
    needs_model: bool = True
    fills: Mapping[Product, Mapping[str, str]] = field(default_factory=dict)
    drops: frozenset[str] = frozenset()
    rules: ProviderRules = _GATEWAY_RULES
    source: str


OFFICIAL = Dialect(
    name=KLING,
    bases=("", "/kling"),
    prefix="/v1/videos",
    creates=_PRODUCTS,
    queries=_PRODUCTS,
    style=EnvelopeStyle(),
    tokens=True,
    external_ids=True,
    library=True,
    needs_model=False,
    rules=KLING_RULES,
    source="Kling's page of image2video; a task is found under any product [live]",
)

_NEW_API_STAGES: Mapping[Stage, tuple[str, str]] = {
    "unseen": ("NOT_START", "0%"),
    "submitted": ("SUBMITTED", "10%"),
    "processing": ("IN_PROGRESS", "30%"),
    "succeed": ("SUCCESS", "100%"),
    "failed": ("FAILURE", "100%"),
}
_ANYFAST_STAGES: Mapping[Stage, tuple[str, str]] = {
    "unseen": ("SUBMITTED", "0%"),
    "submitted": ("SUBMITTED", "10%"),
    "processing": ("PROCESSING", "30%"),
    "succeed": ("SUCCESS", "100%"),
    "failed": ("FAILED", "100%"),
}
_NEW_API_DROPS = frozenset(
    {"multi_shot", "shot_type", "multi_prompt", "element_list", "voice_list"}
)
_NEW_API_PATHS: tuple[Product, ...] = ("image2video", "text2video")

GATEWAYS: tuple[Dialect, ...] = (
    Dialect(
        name="cometapi",
        bases=("/cometapi",),
        creates=("image2video", "multi-image2video", "text2video"),
        queries=("image2video", "multi-image2video", "text2video"),
        style=EnvelopeStyle(
            receipts={"image2video": "success"},
            receipt_request_id=False,
            hollow=True,
            errors=GatewayErrors(kind="comet_api_error", words=FORWARDING),
        ),
        external_ids=True,
        needs_model=False,
        fills={
            "image2video": {"model_name": "kling-v2-master"},
            "text2video": {"model_name": "kling-v2-master"},
        },
        rules=ProviderRules(
            prompt_optional=("image2video",),
            least_pictures=2,
            brush_on_several=True,
            retired=_GATEWAY_RETIRED,
        ),
        source="CometAPI's pages of image2video, text2video, multi-image2video, individual "
        "queries and errors, March to May 2026: a body of one picture alone was accepted, with "
        "kling-v2-master named as the model to begin with, which is therefore the default; 500 "
        "characters of a prompt are documented and not enforced here. An unknown task is taken to "
        "be Kling's refusal.",
    ),
    Dialect(
        name="anyfast",
        bases=("/anyfast",),
        creates=("image2video", "multi-image2video", "omni-video", "text2video"),
        queries=_PRODUCTS,
        style=WrapperStyle(
            receipt_status="submitted",
            words=_ANYFAST_STAGES,
            action="/kling/v1/videos/{product}_POST",
            address_in="",
            row=False,
            errors=GatewayErrors(kind="new_api_error", words=OLD_NEW_API, missing_route="json"),
        ),
        source="AnyFast's pages kling-v2-master-i2v, kling-v1-6-mi2v, kling-v3-omni, kling-v3-t2v "
        "and kling-task-query, 2026. The receipt's status and the errors are taken from new-api.",
    ),
    Dialect(
        name="powertokens",
        bases=("/powertokens",),
        creates=("image2video",),
        queries=("image2video",),
        style=EnvelopeStyle(
            hollow=True,
            errors=GatewayErrors(kind="new_api_error", words=FORWARDING, missing_route="json"),
        ),
        rewrites_ids=True,
        source="PowerTokens' page of image2video, 2026: forwarded to Kling with a public task id. "
        "Queries are taken to be Kling's, and its own refusals new-api's.",
    ),
    Dialect(
        name="newapi",
        bases=("/newapi",),
        creates=_NEW_API_PATHS,
        queries=_NEW_API_PATHS,
        style=WrapperStyle(
            receipt_status="queued",
            words=_NEW_API_STAGES,
            action="generate",
            address_in="result_url",
            row=True,
            errors=GatewayErrors(kind="new_api_error", words=NEW_API),
        ),
        rewrites_ids=True,
        drops=_NEW_API_DROPS,
        source="source of QuantumNous/new-api, 2026; a failed task's result_url repeats the "
        "reason (model/task.go GetResultURL).",
    ),
    Dialect(
        name="newapi-old",
        bases=("/newapi-old",),
        creates=_NEW_API_PATHS,
        queries=_NEW_API_PATHS,
        style=WrapperStyle(
            receipt_status="queued",
            words=_NEW_API_STAGES,
            action="generate",
            address_in="fail_reason",
            row=False,
            errors=GatewayErrors(kind="new_api_error", words=OLD_NEW_API),
        ),
        drops=_NEW_API_DROPS,
        source="source of QuantumNous/new-api, 2025: Kling's own id is given out, and a video's "
        "address stands in fail_reason (controller/task_video.go).",
    ),
)


def forwarded_body(dialect: Dialect, product: Product, body: Any) -> Any:
    """The body that Kling gets. Raises `Refusal` for a request that the provider refuses itself.

    A body that is not an object is passed on unchanged; Kling refuses it.
    """
    if not isinstance(body, dict):
        return body
    filled = {
        name: value
        for name, value in dialect.fills.get(product, {}).items()
        if body.get(name) in (None, "")
    }
    kept = {name: value for name, value in body.items() if name not in dialect.drops}
    if dialect.needs_model:
        model = kept.get("model_name")
        if not isinstance(model, str) or not model:
            raise refused("model_missing")
        if model not in MODELS:
            raise refused("model_unserved", model=model)
    return kept | filled
