"""The table of models, their abilities and prices, and a provider's terms for the rules."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import cache, cached_property
from importlib.resources import files
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from kling_tools.products import PRODUCTS, Product
from kling_tools.quoting import counted
from kling_tools.requests.normalize import mode
from kling_tools.requests.requests import Combination, Setting, is_pattern
from kling_tools.rules.media_limits import MediaLimits

__all__ = [
    "Capabilities",
    "Estimate",
    "Feature",
    "MediaRow",
    "ModelRow",
    "PriceRow",
    "ProductRow",
    "ProviderTerms",
    "Retirement",
    "Wire",
    "WireRow",
    "built_in_capabilities",
    "estimate",
    "price_text",
    "units_text",
    "usd_text",
]


Wire = Literal["legacy", "new"]
"""Kling's two standards: paths with the product's name and a body with `model_name`, or paths with
the model's name. A request goes by the first one that can carry it."""

PriceFrom = Literal["list price", "its row", "paid last"]
"""Where the price of a unit comes from: Kling, the provider's row, or what its balance paid."""

SumFrom = PriceFrom | Literal["several prices"]
"""Where the prices of the units of a sum come from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderTerms:
    """The part of a provider's row that the rules need.

    `products` are the routes that it serves. `default_models` has the model of a request that names
    none, by product, in the order of preference. `loses` maps the fields that it would drop in
    silence to the reason. `documented_lengths` maps text fields to the most characters on its own
    pages; more gives a warning, as Kling itself takes 2,500. `least_images` is the fewest pictures
    of a list. `prompt_optional` are the products for which its pages show a picture without a
    prompt. `list_price` says that Kling's prices in dollars apply; `usd_per_unit` is its own price
    of a unit, which comes first. `wires` are the standards that it speaks. At Kling's own API
    (`official`) a model that Kling has retired is refused. `retired` are the models that it refused
    as retired within the last day, by product.
    """

    name: str
    products: tuple[Product, ...]
    default_models: Mapping[Product, str]
    loses: Mapping[Product, Mapping[str, str]] = field(default_factory=dict)
    documented_lengths: Mapping[str, int] = field(default_factory=dict)
    least_images: int = 1
    prompt_optional: tuple[Product, ...] = ()
    list_price: bool = True
    usd_per_unit: float | None = None
    wires: tuple[Wire, ...] = ("legacy",)
    official: bool = False
    retired: Collection[tuple[Product, str]] = ()

    def price(self, units: float | None, public: float, unit: str, weight: float) -> Estimate:
        """The price of so many units here: by its row, or by the `public` price of a unit where
        that applies. A unit of this kind counts as so much (`weight`) of a unit."""
        of_one = self.usd_per_unit or (public if self.list_price else None)
        usd = None if units is None or of_one is None else round(units * weight * of_one, 4)
        source: PriceFrom | None = "its row" if self.usd_per_unit and usd is not None else None
        reseller = self.name if of_one is None else ""
        return Estimate(units, usd, reseller, unit=unit, price_from=source)


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
    "fidelity",
]


def _checked_pattern(pattern: str) -> str:
    if not is_pattern(pattern):
        raise ValueError(f"{pattern!r} is not MODE/DURATION [NAME=VALUE …] [?]")
    return pattern


Pattern = Annotated[str, AfterValidator(_checked_pattern)]


class _Row(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Retirement(_Row):
    """A model that is retired, or may be: the reason, whether that is certain, its successor, and
    where that is known from."""

    note: str
    certain: bool = False
    successor: str = ""
    source: str = ""
    date: str = ""


class WireRow(_Row):
    """A standard, or what differs on it for a model. `name` is the model's name there, `retired`
    its end there. `image_mb` is the size of a picture, `prompt` the characters of a prompt with its
    shots; `multi_shot` is what a left out multi_shot means. `lacks` maps the fields that it has no
    place for to advice."""

    name: str = ""
    retired: Retirement | None = None
    image_mb: int = 10
    prompt: int = 2500
    multi_shot: bool = False
    lacks: dict[str, str] = Field(default_factory=dict)
    source: str = ""
    date: str = ""


class PriceRow(_Row):
    """A price in cost units, per clip, per second or per picture, for requests that match its other
    fields; None matches any. `from_pictures`: pictures are given, too. Seconds are paid
    `seconds_at_once`, each such part that has begun."""

    mode: str | None = None
    duration: str | None = None
    sound: Literal["on", "off"] | None = None
    voice: bool | None = None
    from_pictures: bool | None = None
    units: float | None = None
    per_second: float | None = None
    per_picture: float | None = None
    seconds_at_once: int = 1

    @cached_property
    def wanted(self) -> Mapping[str, Any]:
        """The fields that a request has to match, and their values."""
        matched = {"mode", "duration", "sound", "voice", "from_pictures"}
        return self.model_dump(include=matched, exclude_none=True)

    def cost(self, setting: Setting) -> float | None:
        """The units of a request with this setting."""
        if self.per_picture is not None:
            return self.per_picture * setting.count
        if self.per_second is not None and self.units is None:
            parts = -(-int(setting.duration) // self.seconds_at_once)
            return self.per_second * parts * self.seconds_at_once
        return self.units


class MediaRow(MediaLimits):
    """The limits of the sound or video in `field`, for requests with the values of `when`."""

    field: str
    when: dict[str, str] = Field(default_factory=dict)


class ProductRow(_Row):
    """One model's abilities and prices in one product, which `lives` on where the model itself is
    retired. `images` is the most pictures of a request; with `always_sound` each video has sound.
    Where pictures and elements are counted together, `images` is the most of both, `characters` the
    most elements that are made of a video, and `beside_characters` the most pictures and other
    elements beside those. `wires` are the standards that have the model. The first row of `media`
    that fits has the limits of a sound or video."""

    modes: tuple[str, ...] = ()
    durations: tuple[str, ...] = ()
    allows: dict[Feature, tuple[Pattern, ...]] = Field(default_factory=dict)
    images: int = 1
    characters: int = 0
    beside_characters: int = 0
    aspect_ratios: tuple[str, ...] = ()
    units: tuple[PriceRow, ...] = ()
    always_sound: bool = False
    lives: bool = False
    media: tuple[MediaRow, ...] = ()
    wires: dict[Wire, WireRow] = {"legacy": WireRow()}
    source: str = ""
    date: str = ""

    def patterns(self, feature: Feature) -> tuple[str, ...]:
        """The patterns of combinations in which the model has the feature; empty if it has none."""
        always: tuple[Pattern, ...] = ("*",) if self.always_sound and feature == "sound" else ()
        return self.allows.get(feature, always)

    def allows_it(self, feature: Feature, combination: Combination) -> Literal["yes", "?", "no"]:
        """Whether the model has the feature in this combination; `?` if sources disagree."""
        found = [p for p in self.patterns(feature) if combination.matches(p)]
        if not found:
            return "no"
        return "?" if all(pattern.endswith("?") for pattern in found) else "yes"


class ModelRow(_Row):
    """One model: the products that serve it, and its retirement. A `preview` is known from a
    reseller alone, and off until the user turns it on."""

    preview: bool = False
    retired: Retirement | None = None
    products: dict[Product, ProductRow] = Field(default_factory=dict)


class Capabilities(_Row):
    """The table: models by name, the standards, and the list price of a unit in US dollars outside
    China."""

    usd_per_unit: float = 0.14
    wires: dict[Wire, WireRow] = Field(default_factory=dict)
    models: dict[str, ModelRow] = Field(default_factory=dict)

    @cached_property
    def looked_up(self) -> dict[Any, Any]:
        """What `living` and `on_wire` found: the search for the nearest request asks thousands of
        times."""
        return {}

    def __copy__(self) -> Self:
        """A copy, which may get other rows, has found nothing yet."""
        copied = super().__copy__()
        copied.__dict__.pop("looked_up", None)
        return copied

    def product_row(self, model_name: str, product: Product) -> ProductRow | None:
        """The row of a model in a product; None if the model, or that product of it, is unknown."""
        model = self.models.get(model_name)
        return model.products.get(product) if model else None

    def models_of(self, products: Iterable[Product]) -> list[str]:
        """The names of all models that serve one of the products, the retired ones last, without
        previews that are off."""
        wanted = set(products)
        names = [
            name
            for name, row in self.models.items()
            if wanted & set(row.products) and not row.preview
        ]
        return sorted(names, key=lambda name: self._ends(name, wanted))

    def _ends(self, name: str, products: Collection[Product]) -> bool:
        """Whether one of these products is not made with the model any more."""
        made = [product for product in self.models[name].products if product in products]
        return any(self.retirement(name, product) is not None for product in made)

    def living(
        self, products: Collection[Product], wires: Collection[Wire] = ("legacy", "new")
    ) -> list[str]:
        """The names of the models that make one of the products today on one of these standards."""
        key = (frozenset(products), frozenset(wires))
        if key not in self.looked_up:
            self.looked_up[key] = tuple(
                name
                for name in self.models_of(products)
                if any(
                    set(wires) & set(row.wires) and self.retirement(name, product) is None
                    for product, row in self.models[name].products.items()
                    if product in products
                )
            )
        return [*self.looked_up[key]]

    def retirement(self, model_name: str, product: Product) -> Retirement | None:
        """The end of a model in a product, on all its standards; None for a living or unknown
        one."""
        model, row = self.models.get(model_name), self.product_row(model_name, product)
        ends = [wire.retired for wire in row.wires.values()] if row else []
        if ends and all(ends):
            return ends[0]
        return model.retired if model and not (row and row.lives) else None

    def on_wire(self, model_name: str, product: Product, wire: Wire) -> WireRow:
        """The name and the limits of a model on a standard. An unknown model has its name and the
        limits of the standard."""
        row = self.product_row(model_name, product)
        known: WireRow | None = self.looked_up.get(key := (model_name, product, wire))
        if known is not None:
            return known
        own = row.wires.get(wire, WireRow()) if row else WireRow()
        base = self.wires.get(wire, WireRow())
        given = {name: getattr(own, name) for name in own.model_fields_set}
        lacks = base.lacks | own.lacks
        found = base.model_copy(update={"name": model_name, **given, "lacks": lacks})
        if row:
            self.looked_up[key] = found
        return found

    def wire_for(
        self, model_name: str, product: Product, given: Collection[str], terms: ProviderTerms
    ) -> Wire | None:
        """The standard by which the provider gets a request with these fields: the first that has
        the model and a place for each field. None when the provider speaks none that has it."""
        row = self.product_row(model_name, product)
        if row is None:
            return terms.wires[0]
        shared = [wire for wire in terms.wires if wire in row.wires]
        alive = [wire for wire in shared if row.wires[wire].retired is None] or shared
        whole = (w for w in alive if not {*given} & {*self.on_wire(model_name, product, w).lacks})
        return next(whole, alive[0] if alive else None)

    def media_limits(
        self, model_name: str, product: Product, field: str, arguments: Mapping[str, Any]
    ) -> MediaLimits:
        """The limits of the sound or video in a field; those of another model for one that is
        unknown. Raises LookupError for a field that no model's row names."""
        models = [self.models[model_name]] if model_name in self.models else []
        for model in (*models, *self.models.values()):
            for row in model.products[product].media if product in model.products else ():
                fits = all(arguments.get(name) == value for name, value in row.when.items())
                if row.field == field and fits:
                    return row
        raise LookupError(f"no model's row has limits for {field} of {product}")

    def with_previews(self, names: Collection[str] | None = None) -> Capabilities:
        """This table with these previews turned on, or with all of them."""
        models = {
            name: row.model_copy(update={"preview": False})
            if row.preview and (names is None or name in names)
            else row
            for name, row in self.models.items()
        }
        return self.model_copy(update={"models": models})

    def known_as(self, name: str, products: Collection[Product] = ()) -> str | None:
        """The model whose name was probably meant, such as `kling-v2-5-turbo` for
        `kling-v2-5-tubro`; see `meanings`. None for a known name, and for a name with other
        numbers, which may be a new model's."""
        return next(iter(self.meanings(name, products)), None)

    def meanings(self, name: str, products: Collection[Product] = ()) -> list[str]:
        """The models that an unknown name probably means: the living ones, and those of the
        products, come first. Empty for a known name."""
        if name in self.models:
            return []
        name = _SOLD_AS.get(re.sub(r"^kling\W*", "", name), _with_kling(name))
        if said := self.canonical(name):
            return [said]
        if with_mode := self.mode_in(name):
            return [with_mode[0]]
        digits, letters = _spelled(name)
        able = set(self.models_of(products)) if products else set()
        order = sorted(self.models, key=lambda known: (known not in able, self._has_ended(known)))
        if not digits:
            return [known for known in order if letters and _spelled(known)[1] == letters]
        near = {_spelled(known)[1]: known for known in order[::-1] if _spelled(known)[0] == digits}
        if not letters:
            return [known for known in order if known in near.values()]
        found = get_close_matches(letters, near, n=1, cutoff=0.7)
        return [near[found[0]]] if found else [near[letters]] if letters in near else []

    def _has_ended(self, name: str) -> bool:
        model = self.models[name]
        return model.preview or all(self.retirement(name, product) for product in model.products)

    def mode_in(self, name: str) -> tuple[str, str] | None:
        """The model and the mode in a name that has both, as `kling-v3-pro` and `3.0 4k`."""
        words = re.split(r"[\s_-]+", name.lower())
        modes = {word: mode(word) for word in words if mode(word) in ("std", "pro", "4k")}
        known = self.canonical("-".join(word for word in words if word not in modes))
        if len(modes) != 1 or known is None:
            return None
        return known, next(iter(modes.values()))

    @staticmethod
    def may_be_new(name: str) -> bool:
        """Whether an unknown name can be that of a model which is newer than this table."""
        return any(map(str.isdecimal, name.lower().partition("kling")[2]))

    def nearest(self, name: str, product: Product, terms: ProviderTerms) -> list[str]:
        """The living models of a product at a provider, those with the most similar names first."""
        names = self.living([product], terms.wires)
        alike = get_close_matches(name, names, n=len(names) or 1, cutoff=0.0)
        return alike or names

    def canonical(self, name: str) -> str | None:
        """The table's name of a model in any of its spellings: as on either standard, or as people
        say it (`kling-3.0-turbo`, `Kling 3 Turbo`, `kling3.0turbo`). None for every other name."""
        if name in self.models:
            return name
        said = _said(name)
        return next((known for known in self.models if any(said) and _said(known) == said), None)

    def overridden(self, changes: Mapping[str, Any]) -> Capabilities:
        """This table with rows added or changed, as a user's own file asks.

        Fields that the change does not name keep their values; lists are replaced whole.
        Raises pydantic.ValidationError when the result is not a valid table.
        """
        return Capabilities.model_validate(_merged(self.model_dump(exclude_unset=True), changes))


_SOLD_AS = {"o3": "kling-v3-omni"}
"""Names by which others sell a model [fal.ai sells Kling 3.0 Omni as Kling O3]."""


def _with_kling(name: str) -> str:
    """The name with its first word put right where that is a misspelt `kling`."""
    first = re.match(r"[a-z]+", name)
    near = first and get_close_matches(first[0], ["kling"], n=1, cutoff=0.7)
    return f"kling{name[first.end() :]}" if first and near else name


_NO_LETTERS = re.compile(r"kling(?:[\W_]*ai)?(?![a-z])|kling|video|v(?=[\W_]*\d)|[\d\W_]+")
"""The parts of a model's name that people add or leave out."""
_NOUGHT = re.compile(r"(?<=\d)[\W_]*[._-]0(?!\d)")


def _said(name: str) -> tuple[list[str], str]:
    """The numbers and the letters of a model's name; 3.0 counts as 3."""
    plain = _NOUGHT.sub("", name[:64].lower())
    return re.findall(r"\d+", plain), _NO_LETTERS.sub("", plain)


def _spelled(name: str) -> tuple[str, str]:
    """The digits and the letters of a model's name."""
    numbers, letters = _said(name)
    return "".join(numbers), letters


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
    """Cost in units (of the kind that `unit` names) at Kling's list price, and in US dollars, whose
    price of a unit is Kling's too, unless `price_from` tells another one.

    Both are None if the price is unknown; dollars are None also at a `reseller` (the provider's
    name), which sets its own price. The `sandbox` charges nothing.
    """

    units: float | None
    usd: float | None
    reseller: str = field(default="", compare=False)
    sandbox: bool = field(default=False, compare=False)
    unit: str = "unit"
    price_from: SumFrom | None = field(default=None, compare=False)

    def __str__(self) -> str:
        return price_text(
            self.units,
            self.usd,
            self.reseller,
            self.unit,
            sandbox=self.sandbox,
            price_from=self.price_from,
        )


def units_text(units: float, unit: str = "unit") -> str:
    """An amount of cost units in words: `1 unit`, `1.5 units`, `8 image units`."""
    return counted(units, unit)


def price_text(
    units: float | None,
    usd: float | None,
    reseller: str = "",
    unit: str = "unit",
    *,
    sandbox: bool = False,
    price_from: SumFrom | None = None,
) -> str:
    """A price in words: `about 1.5 units (0.21 USD list price)`. Without dollars it is a reseller's
    (its name), which sets its own price. Of the `sandbox` it says that nothing is charged."""
    free = ", in the sandbox nothing" if sandbox else ""
    if units is None:
        return f"an unknown price{free}"
    amount = f"about {units_text(units, unit)}"
    if usd is None:
        return f"{amount} at Kling's list price; {reseller or 'the reseller'} sets its own{free}"
    return f"{amount} ({usd_text(usd, price_from)}){free}"


def usd_text(usd: float, price_from: SumFrom | None) -> str:
    """An amount in words, with where its price comes from: `0.21 USD list price`."""
    return f"{usd:.2f} USD {_BY[price_from or 'list price']}"


_BY: Mapping[SumFrom, str] = {
    "list price": "list price",
    "its row": "by the price in its row",
    "paid last": "as its balance paid last",
    "several prices": "at the prices of its shots",
}


def estimate(
    capabilities: Capabilities,
    product: Product,
    setting: Setting,
    *,
    model_name: str,
    voice: bool = False,
) -> Estimate:
    """The price of a request with this setting, from the unit table of the model's row.

    The first price row that fits decides. Resellers' prices differ from Kling's list prices.
    """
    row = capabilities.product_row(model_name, product)
    kind = PRODUCTS[product]
    asked = {
        "mode": setting.mode,
        "duration": setting.duration,
        "sound": setting.sound,
        "voice": voice,
        "from_pictures": setting.from_pictures,
    }
    for price in row.units if row else ():
        units = price.cost(setting) if _fits(price, asked) else None
        if units is not None:
            units = round(units, 4)
            usd = units * kind.unit_weight * capabilities.usd_per_unit
            return Estimate(units, round(usd, 4), unit=kind.unit)
    return Estimate(None, None, unit=kind.unit)


def _fits(price: PriceRow, asked: dict[str, object]) -> bool:
    return all(asked[name] == value for name, value in price.wanted.items())
