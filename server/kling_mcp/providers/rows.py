"""The table of providers: one row of `providers.json` for each.

A row holds the differences between providers; `kling_tools.rules.capabilities` says what models can
do. A user's own file adds or changes rows: a new gateway of the same family is
`{"mine": {"like": "newapi", "base_url": "https://…"}}`.
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
from kling_tools.products import PRODUCTS, PRODUCTS_BY_TOOL, Product
from kling_tools.requests.arguments import AUTO
from kling_tools.rules.capabilities import ProviderTerms, Wire

__all__ = ["PROVIDERS", "SANDBOX", "ProviderRow", "Shape", "read_providers", "serving"]

SANDBOX = "sandbox"
"""The name of the provider without a key. As a base URL it leads any provider to the sandbox."""

Shape = Literal["envelope", "wrapper", "openai", "record"]
"""The shape of an answer: Kling's own envelope, new-api's wrapper, an OpenAI-like object, or the
record of Kling's new standard."""


KLING_MEDIA = tuple(
    f"https://*.{domain}"
    for domain in ("inkwai.com", "kechuangai.com", "kling.ai", "klingai.com", "kwimgs.com")
)
"""The hosts of Kling's results that were seen, in every region; gateways pass the same URLs on."""

TextField = Annotated[str, Field(pattern=r"^(negative_)?prompt$")]


class ProviderRow(BaseModel):
    """One provider.

    `family` is the built-in provider that the row is like, whose sandbox can play it. `currencies`
    are those of its accounts by base URL, for answers about money that name none. `prefix`
    stands before the product in every path. `shapes` are the shapes of its answers, the likeliest
    first. `lists` says whether it lists tasks, `tells_units` whether it tells the units left in the
    account. `external_ids` is `unique` when our own id finds a task and no second task gets that
    id, `unknown` when its pages only promise the first, `none` when it changes ids. `poll_s` is the
    seconds between two looks at a running task. `video_hosts` are the origins of its videos, in the
    words of a Content-Security-Policy. `callbacks` says that it calls a `callback_url` when a task
    changes. `assets` stands before the paths of elements and voices; it is empty
    where the provider passes none of them on. `usd_per_unit` is what it charges for one of Kling's
    units, until its balance has paid. `ProviderTerms` explains the rest.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"^[a-z][a-z0-9_]{0,31}$")
    family: str
    base_url: str = ""
    regions: Mapping[str, str] = {}
    currencies: Mapping[str, str] = {}
    prefix: str = Field(default="/v1/videos", pattern=r"^(/[A-Za-z0-9._~-]+)*$")
    assets: str = Field(default="", pattern=r"^(/[A-Za-z0-9._~-]+)*$")
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
    prompt_optional: tuple[Product, ...] = ()
    list_price: bool = False
    usd_per_unit: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    wires: tuple[Wire, ...] = Field(default=("legacy",), min_length=1)
    official: bool = False
    video_hosts: tuple[str, ...] = KLING_MEDIA
    callbacks: bool = False
    source: str = ""
    date: str = ""

    @model_validator(mode="after")
    def _has_defaults(self) -> Self:
        """Each tool has a default model, as `model_name` is always sent: Kling would take a retired
        model for a missing name."""
        for products in PRODUCTS_BY_TOOL.values():
            served = [product for product in self.products if product in products]
            if served and not any(product in self.default_models for product in served):
                raise ValueError(f"default_models names no model for {served[0]}")
        return self

    @model_validator(mode="after")
    def _is_no_choice(self) -> Self:
        """`auto` is the word for a choice between providers."""
        if self.name == AUTO:
            raise ValueError(f"{AUTO} is not a name: it stands for a choice between providers")
        return self

    @property
    def own_paths(self) -> list[Product]:
        """A product for each path: those that share one have one list of tasks."""
        first: dict[str, Product] = {}
        for product in self.products:
            first.setdefault(PRODUCTS[product].path, product)
        return list(first.values())

    @property
    def terms(self) -> ProviderTerms:
        """The part of the row that the rules need."""
        return ProviderTerms(
            name=self.name,
            products=self.products,
            default_models=self.default_models,
            loses=self.loses,
            documented_lengths=self.documented_lengths,
            least_images=self.least_images,
            prompt_optional=self.prompt_optional,
            list_price=self.list_price,
            usd_per_unit=self.usd_per_unit,
            wires=self.wires,
            official=self.official,
        )

    @property
    def key_setting(self) -> str:
        """The name of the environment variable with the key."""
        return f"{self.name.upper()}_API_KEY"

    @property
    def base_url_setting(self) -> str:
        """The name of the environment variable with another base URL."""
        return f"{self.name.upper()}_BASE_URL"


def read_providers(path: Path | None) -> Mapping[str, ProviderRow]:
    """The built-in providers with the rows of the user's JSON or TOML file; raises
    NotConfigured."""
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


def serving(rows: Mapping[str, ProviderRow]) -> dict[str, list[str]]:
    """Returns the names of the rows that can make what each tool makes, by the tool's name, and
    under "assets" those that keep elements and voices."""
    made = {
        tool: [name for name, row in rows.items() if not set(products).isdisjoint(row.products)]
        for tool, products in PRODUCTS_BY_TOOL.items()
    }
    return made | {"assets": [name for name, row in rows.items() if row.assets]}


def _built_in() -> dict[str, Any]:
    text = files("kling_mcp.providers").joinpath("providers.json").read_text(encoding="utf-8")
    rows: dict[str, Any] = json.loads(text)
    return rows


def _merged(rows: dict[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(rows)
    for name, change in changes.items():
        if not isinstance(change, Mapping):
            raise RowFileFault(f"{name} is not a table of fields")
        merged[name] = _over(merged.get(name, {}), change)
    return merged


def _over(below: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of both rows; the own ones count. Default models that the own row does not name
    stay: a file that names those of today must still do when there is one more product."""
    fields = {**below, **own}
    theirs, ours = below.get("default_models"), own.get("default_models")
    if isinstance(theirs, Mapping) and isinstance(ours, Mapping):
        fields["default_models"] = {**ours, **{p: theirs[p] for p in theirs if p not in ours}}
    return fields


def _rows(raw: Mapping[str, Mapping[str, Any]]) -> Mapping[str, ProviderRow]:
    return {name: _row(name, raw) for name in raw}


def _row(name: str, raw: Mapping[str, Mapping[str, Any]]) -> ProviderRow:
    fields, family = _inherited(name, raw)
    try:
        row = ProviderRow.model_validate({**fields, "name": name, "family": family})
        served = {p: row.default_models[p] for p in row.default_models if p in row.products}
        return row.model_copy(update={"default_models": served})
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
    """The row's fields over those of the row that it is `like`, and the row at the end of that
    chain."""
    own = {key: value for key, value in raw[name].items() if key != "like"}
    like = raw[name].get("like", "")
    if not like:
        return own, name
    if not isinstance(like, str) or like not in raw:
        raise RowFileFault(f"{name} is like {like}, which does not exist")
    if like in (name, *below):
        raise RowFileFault(f"{name} is like itself")
    fields, family = _inherited(like, raw, (*below, name))
    return _over(fields, own), family


PROVIDERS: Mapping[str, ProviderRow] = _rows(_built_in())
"""The providers of this version, by name."""
