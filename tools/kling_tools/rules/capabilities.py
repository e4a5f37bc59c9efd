"""The table of models, their abilities and prices, and a provider's terms for the rules."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import cache
from importlib.resources import files
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from kling_tools.products import Product
from kling_tools.quoting import counted
from kling_tools.requests.requests import Combination, is_pattern

__all__ = [
    "Capabilities",
    "Estimate",
    "Feature",
    "ModelRow",
    "PriceRow",
    "ProductRow",
    "ProviderTerms",
    "Retirement",
    "built_in_capabilities",
    "estimate",
    "price_text",
    "units_text",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderTerms:
    """The part of a provider's row that the rules need.

    `products` are the routes that it serves. `default_models` has the model of a request that names
    none, by product, in the order of preference. `loses` maps the fields that it would drop in
    silence to the reason. `documented_lengths` maps text fields to the most characters on its own
    pages; more gives a warning, as Kling itself takes 2,500. `least_images` is the fewest pictures
    of a list. `prompt_optional` are the products for which its pages show a picture without a
    prompt. `list_price` says that Kling's prices in dollars apply.
    """

    name: str
    products: tuple[Product, ...]
    default_models: Mapping[Product, str]
    loses: Mapping[Product, Mapping[str, str]] = field(default_factory=dict)
    documented_lengths: Mapping[str, int] = field(default_factory=dict)
    least_images: int = 1
    prompt_optional: tuple[Product, ...] = ()
    list_price: bool = True


Feature = Literal[
    "image_tail",
    "image_tail_alone",
    "motion_brush",
    "camera_control",
    "cfg_scale",
    "sound",
    "voice_list",
    "element_list",
    "multi_shot",
    "multi_shot_tail",
]


def _checked_pattern(pattern: str) -> str:
    if not is_pattern(pattern):
        raise ValueError(f"{pattern!r} is not MODE/DURATION [NAME=VALUE …] [?]")
    return pattern


Pattern = Annotated[str, AfterValidator(_checked_pattern)]


class _Row(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Retirement(_Row):
    """A model that is retired, or may be: the reason, whether that is certain, its successor."""

    note: str
    certain: bool = False
    successor: str = ""


class PriceRow(_Row):
    """A price in cost units, per clip or per second, for requests that match its other fields; None
    matches any."""

    mode: str | None = None
    duration: str | None = None
    sound: Literal["on", "off"] | None = None
    voice: bool | None = None
    units: float | None = None
    per_second: float | None = None


class ProductRow(_Row):
    """One model's abilities and prices in one product. `images` is the most pictures of a
    request."""

    modes: tuple[str, ...] = ()
    durations: tuple[str, ...] = ()
    allows: dict[Feature, tuple[Pattern, ...]] = Field(default_factory=dict)
    images: int = 1
    aspect_ratios: tuple[str, ...] = ()
    units: tuple[PriceRow, ...] = ()
    successor: str = ""
    source: str = ""
    date: str = ""

    def patterns(self, feature: Feature) -> tuple[str, ...]:
        """The patterns of combinations in which the model has the feature; empty if it has none."""
        return self.allows.get(feature, ())

    def allows_it(self, feature: Feature, combination: Combination) -> Literal["yes", "?", "no"]:
        """Whether the model has the feature in this combination; `?` if sources disagree."""
        found = [p for p in self.patterns(feature) if combination.matches(p)]
        if not found:
            return "no"
        return "?" if all(pattern.endswith("?") for pattern in found) else "yes"


class ModelRow(_Row):
    """One model: the products that serve it, and its retirement."""

    retired: Retirement | None = None
    products: dict[Product, ProductRow] = Field(default_factory=dict)


class Capabilities(_Row):
    """The table: models by name, and the list price of a unit in US dollars outside China."""

    usd_per_unit: float = 0.14
    models: dict[str, ModelRow] = Field(default_factory=dict)

    def product_row(self, model_name: str, product: Product) -> ProductRow | None:
        """The row of a model in a product; None if the model, or that product of it, is unknown."""
        model = self.models.get(model_name)
        return model.products.get(product) if model else None

    def models_of(self, products: Iterable[Product]) -> list[str]:
        """The names of all models that serve one of the products, the retired ones last."""
        wanted = set(products)
        names = [name for name, row in self.models.items() if wanted & set(row.products)]
        return sorted(names, key=lambda name: self.models[name].retired is not None)

    def known_as(self, name: str) -> str | None:
        """The model with this name in another spelling, such as `kling-v2.6` or `Kling 2.6`. None
        for a known name, and for a name with other numbers, which may be a new model's."""
        if name in self.models:
            return None
        digits, letters = _spelled(name)
        near = {_spelled(known)[1]: known for known in self.models if _spelled(known)[0] == digits}
        found = get_close_matches(letters, near, n=1, cutoff=0.8) if digits else []
        return near[found[0]] if found else near.get(letters)

    def spoken(self, name: str) -> str | None:
        """The model whose name is written as people say it, with the same numbers and words:
        `kling 1.6`, `Kling 2.5 turbo`. None for a known name and for every other one."""
        if name in self.models:
            return None
        said = _said(name)
        return next((known for known in self.models if said[0] and _said(known) == said), None)

    def overridden(self, changes: Mapping[str, Any]) -> Capabilities:
        """This table with rows added or changed, as a user's own file asks.

        Fields that the change does not name keep their values; lists are replaced whole.
        Raises pydantic.ValidationError when the result is not a valid table.
        """
        return Capabilities.model_validate(_merged(self.model_dump(exclude_unset=True), changes))


_NO_LETTERS = re.compile(r"kling|v(?=\W*\d)|[\d\W_]+")


def _spelled(name: str) -> tuple[str, str]:
    """The digits and the letters of a model's name, without the parts that people add or leave
    out."""
    plain = re.sub(r"(?<=\d)\.0(?!\d)", "", name[:64].lower())
    return "".join(re.findall(r"\d", plain)), _NO_LETTERS.sub("", plain)


def _said(name: str) -> tuple[list[str], str]:
    """The numbers and the letters of a model's name."""
    plain = re.sub(r"(?<=\d)\.0(?!\d)", "", name[:64].lower())
    return re.findall(r"\d+", plain), _NO_LETTERS.sub("", plain)


def _merged(base: Any, change: Any) -> Any:
    if isinstance(base, Mapping) and isinstance(change, Mapping):
        return {
            key: _merged(base.get(key), change[key]) if key in change else base[key]
            for key in (*base, *(key for key in change if key not in base))
        }
    return change


@cache
def built_in_capabilities() -> Capabilities:
    """The table that ships with this version."""
    text = files("kling_tools.rules").joinpath("capabilities.json").read_text(encoding="utf-8")
    return Capabilities.model_validate_json(text)


@dataclass(frozen=True, slots=True)
class Estimate:
    """Cost in units, and in US dollars, both at Kling's list price.

    Both are None if the price is unknown; dollars are None also at a `reseller` (the provider's
    name), which sets its own price.
    """

    units: float | None
    usd: float | None
    reseller: str = field(default="", compare=False)

    def __str__(self) -> str:
        return price_text(self.units, self.usd, self.reseller)


def units_text(units: float) -> str:
    """An amount of cost units in words: `1 unit`, `1.5 units`."""
    return counted(units, "unit")


def price_text(units: float | None, usd: float | None, reseller: str = "") -> str:
    """A price in words: `about 1.5 units (0.21 USD list price)`. Without dollars it is a reseller's
    (its name), which sets its own price."""
    if units is None:
        return "an unknown price"
    amount = f"about {units_text(units)}"
    if usd is None:
        return f"{amount} at Kling's list price; {reseller or 'the reseller'} sets its own"
    return f"{amount} ({usd:.2f} USD list price)"


def estimate(
    capabilities: Capabilities,
    product: Product,
    *,
    model_name: str,
    mode: str,
    duration: str,
    sound: str,
    voice: bool,
) -> Estimate:
    """The price of one video of `duration` seconds, from the unit table of the model's row.

    The first price row that fits decides. Resellers' prices differ from Kling's list prices.
    """
    row = capabilities.product_row(model_name, product)
    asked = {"mode": mode, "duration": duration, "sound": sound, "voice": voice}
    for price in row.units if row else ():
        if _fits(price, asked):
            units = price.units
            if units is None and price.per_second is not None:
                units = price.per_second * int(duration)
            if units is not None:
                units = round(units, 4)
                return Estimate(units, round(units * capabilities.usd_per_unit, 4))
    return Estimate(None, None)


def _fits(price: PriceRow, asked: dict[str, object]) -> bool:
    wanted = price.model_dump(include=set(asked), exclude_none=True)
    return all(asked[name] == value for name, value in wanted.items())
