"""Where a request goes and who answers: one row of `providers.json` for each provider.

What a model can do stands in `kling_tools.rules.capabilities`; a row holds only what differs from
provider to provider. A user's own file adds rows or changes them: a new gateway of the same family
is `{"mine": {"like": "newapi", "base_url": "https://…"}}`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from kling_mcp.settings.environment import RowFileFault, read_row_file
from kling_tools.errors import NotConfigured
from kling_tools.products import MAKERS, Product
from kling_tools.rules.capabilities import ProviderTerms

__all__ = ["PROVIDERS", "SANDBOX", "ProviderRow", "Shape", "read_providers"]

SANDBOX = "sandbox"
"""The name of the keyless provider, and the base URL that leads any provider to it."""

Shape = Literal["envelope", "wrapper", "openai"]
"""How an answer reads: Kling's own envelope, new-api's wrapper, or an OpenAI-like object."""


KLING_MEDIA = tuple(
    f"https://*.{domain}"
    for domain in ("inkwai.com", "kechuangai.com", "kling.ai", "klingai.com", "kwimgs.com")
)
"""Where Kling's results have been seen to lie, in every region; gateways hand the same on."""

TextField = Annotated[str, Field(pattern=r"^(negative_)?prompt$")]


class ProviderRow(BaseModel):
    """One provider.

    `family` is the built-in provider that the row is like, and so the sandbox that can play it.
    `prefix` stands before the product in every path. `shapes` are the forms of its answers, the
    likeliest first. `lists` says whether it can list tasks, `tells_units` whether it can be
    asked for what is left of the account. `external_ids`: `unique` when a task
    can be asked for by the id that we gave it and no second one with that id is made, `unknown`
    when its pages only say that it can be asked for, `none` when ids are rewritten. `poll_s` is
    the seconds between two looks at a running task. `video_hosts` are the origins that its videos
    are loaded from, as a Content-Security-Policy names them. `callbacks` says that it calls a
    `callback_url` when a task changes. See `ProviderTerms` for the rest.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"^[a-z][a-z0-9_]{0,31}$")
    family: str
    base_url: str = ""
    regions: Mapping[str, str] = {}
    prefix: str = Field(default="/v1/videos", pattern=r"^(/[A-Za-z0-9._~-]+)*$")
    products: tuple[Product, ...] = Field(min_length=1)
    default_models: Mapping[Product, str]
    shapes: tuple[Shape, ...] = Field(default=("envelope",), min_length=1)
    lists: bool = False
    tells_units: bool = False
    external_ids: Literal["unique", "unknown", "none"] = "none"
    poll_s: float = Field(default=5.0, gt=0, allow_inf_nan=False)
    loses: Mapping[Product, Mapping[str, str]] = {}
    documented_lengths: Mapping[TextField, int] = {}
    least_images: int = 1
    prompt_optional: bool = False
    list_price: bool = False
    video_hosts: tuple[str, ...] = KLING_MEDIA
    callbacks: bool = False
    source: str = ""
    date: str = ""

    @model_validator(mode="after")
    def _has_defaults(self) -> Self:
        """`model_name` is always sent: Kling takes a retired model for one that is left out."""
        for products in MAKERS.values():
            served = [product for product in self.products if product in products]
            if served and not any(product in self.default_models for product in served):
                raise ValueError(f"default_models names no model for {served[0]}")
        return self

    @property
    def terms(self) -> ProviderTerms:
        """The part of the row that judges requests."""
        return ProviderTerms(
            name=self.name,
            products=self.products,
            default_models=self.default_models,
            loses=self.loses,
            documented_lengths=self.documented_lengths,
            least_images=self.least_images,
            prompt_optional=self.prompt_optional,
            list_price=self.list_price,
        )

    @property
    def key_setting(self) -> str:
        """The environment variable that holds its key."""
        return f"{self.name.upper()}_API_KEY"

    @property
    def base_url_setting(self) -> str:
        """The environment variable that leads to another base URL."""
        return f"{self.name.upper()}_BASE_URL"


def read_providers(path: Path | None) -> Mapping[str, ProviderRow]:
    """The providers with those of the user's JSON or TOML file; raises NotConfigured."""
    if path is None:
        return PROVIDERS
    try:
        return _rows(_merged(_built_in(), read_row_file(path)))
    except RowFileFault as fault:
        reason = str(fault)
    raise NotConfigured(
        f"KLING_MCP_PROVIDERS names {path}, which cannot be used: {reason}.",
        advice='A row is {"name": {"like": "newapi", "base_url": "https://…"}}; fields that it '
        "does not name are those of the provider that it is like.",
    )


def _built_in() -> dict[str, Any]:
    text = files("kling_mcp.providers").joinpath("providers.json").read_text(encoding="utf-8")
    rows: dict[str, Any] = json.loads(text)
    return rows


def _merged(rows: dict[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(rows)
    for name, change in changes.items():
        if not isinstance(change, Mapping):
            raise RowFileFault(f"{name} is not a table of fields")
        merged[name] = {**merged.get(name, {}), **change}
    return merged


def _rows(raw: Mapping[str, Mapping[str, Any]]) -> Mapping[str, ProviderRow]:
    return {name: _row(name, raw) for name in raw}


def _row(name: str, raw: Mapping[str, Mapping[str, Any]]) -> ProviderRow:
    fields, family = _inherited(name, raw)
    try:
        return ProviderRow.model_validate({**fields, "name": name, "family": family})
    except ValidationError as error:
        faults = [
            f"{'.'.join([name, *map(str, detail['loc'])])}: "
            f"{detail['msg'].removeprefix('Value error, ')}"
            for detail in error.errors(include_url=False)
        ]
    raise RowFileFault("; ".join(faults))


def _inherited(
    name: str, raw: Mapping[str, Mapping[str, Any]], below: tuple[str, ...] = ()
) -> tuple[dict[str, Any], str]:
    """A row's fields over those of the one that it is like, and the last one of that line."""
    own = {key: value for key, value in raw[name].items() if key != "like"}
    like = raw[name].get("like", "")
    if not like:
        return own, name
    if not isinstance(like, str) or like not in raw:
        raise RowFileFault(f"{name} is like {like}, which does not exist")
    if like in (name, *below):
        raise RowFileFault(f"{name} is like itself")
    fields, family = _inherited(like, raw, (*below, name))
    return {**fields, **own}, family


PROVIDERS: Mapping[str, ProviderRow] = _rows(_built_in())
"""The providers of this version, by name."""
