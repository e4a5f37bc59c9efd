"""What each model can do, read from `capabilities.json`, where every row names source and date.

A feature is a list of patterns `MODE/DURATION [NAME=VALUE …] [?]`: `*` stands for anything, a
model without modes has mode `-`, and a trailing `?` marks what the sources do not agree on, which
becomes a warning instead of a refusal. A feature that is not named is not supported.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from importlib.resources import files
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

__all__ = [
    "Capabilities",
    "Combination",
    "Feature",
    "ModelRow",
    "PriceRow",
    "ProductRow",
    "Retirement",
    "built_in_capabilities",
]

Product = Literal["image2video", "multi-image2video", "omni-video"]
"""The product segment of Kling's paths, `/v1/videos/{product}`."""

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

_PATTERN = re.compile(r"(?P<what>\*|[\w*-]+/[\d*]+)(?P<conditions>( \w+=[\w-]+)*)(?P<doubt> \?)?")


def _checked_pattern(pattern: str) -> str:
    if not _PATTERN.fullmatch(pattern):
        raise ValueError(f"{pattern!r} is not MODE/DURATION [NAME=VALUE …] [?]")
    return pattern


Pattern = Annotated[str, AfterValidator(_checked_pattern)]


@dataclass(frozen=True, slots=True)
class Combination:
    """One request's mode, duration (seconds, as text) and what else a pattern may ask about."""

    mode: str
    duration: str
    details: Mapping[str, str]

    def matches(self, pattern: str) -> bool:
        """Whether the pattern covers this combination; its mark of doubt is not looked at."""
        match = _PATTERN.fullmatch(pattern)
        if match is None:
            return False
        mode, _, duration = match["what"].replace("*", "*/*", match["what"] == "*").partition("/")
        conditions = dict(pair.split("=") for pair in match["conditions"].split())
        return (
            mode in ("*", self.mode)
            and duration in ("*", self.duration)
            and all(self.details.get(name) == value for name, value in conditions.items())
        )


class _Row(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Retirement(_Row):
    """That a model has gone or may have gone: why we think so, how sure it is, what replaces it."""

    note: str
    certain: bool = False
    successor: str = ""


class PriceRow(_Row):
    """A price in cost units, per clip or per second; what it leaves out, it does not look at."""

    mode: str | None = None
    duration: str | None = None
    sound: Literal["on", "off"] | None = None
    voice: bool | None = None
    units: float | None = None
    per_second: float | None = None


class ProductRow(_Row):
    """What one model can do in one product. `images` is the most pictures one request may hold."""

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
        """The combinations in which the model has the feature; empty when it never has."""
        return self.allows.get(feature, ())

    def allows_it(self, feature: Feature, combination: Combination) -> Literal["yes", "?", "no"]:
        """Whether the model has the feature in this combination; `?` when sources disagree."""
        found = [p for p in self.patterns(feature) if combination.matches(p)]
        if not found:
            return "no"
        return "?" if all(pattern.endswith("?") for pattern in found) else "yes"


class ModelRow(_Row):
    """One model: the products that serve it, and its retirement."""

    retired: Retirement | None = None
    products: dict[Product, ProductRow] = Field(default_factory=dict)


class Capabilities(_Row):
    """The table: models by name, and what one unit lists at in US dollars outside China."""

    usd_per_unit: float = 0.14
    models: dict[str, ModelRow] = Field(default_factory=dict)

    def product_row(self, model_name: str, product: Product) -> ProductRow | None:
        """The row of a model in a product; None when the model or that use of it is unknown."""
        model = self.models.get(model_name)
        return model.products.get(product) if model else None

    def models_of(self, products: Iterable[Product]) -> list[str]:
        """Names of the models that serve any of the products, the living before the retired."""
        wanted = set(products)
        names = [name for name, row in self.models.items() if wanted & set(row.products)]
        return sorted(names, key=lambda name: self.models[name].retired is not None)

    def known_as(self, name: str) -> str | None:
        """The model that is meant by another spelling of its name, such as `kling-v2.6` or `Kling
        2.6`; None for a known name and for one that may be new: numbers always differ there."""
        if name in self.models:
            return None
        digits, letters = _spelled(name)
        near = {_spelled(known)[1]: known for known in self.models if _spelled(known)[0] == digits}
        found = get_close_matches(letters, near, n=1, cutoff=0.8) if digits else []
        return near[found[0]] if found else near.get(letters)

    def overridden(self, changes: Mapping[str, Any]) -> Capabilities:
        """This table with rows added or changed, as a user's own file asks.

        Fields that the change does not name keep their values; lists are replaced whole.
        Raises pydantic.ValidationError when the result is not a valid table.
        """
        return Capabilities.model_validate(_merged(self.model_dump(exclude_unset=True), changes))


_NO_LETTERS = re.compile(r"kling|v(?=\W*\d)|[\d\W_]+")


def _spelled(name: str) -> tuple[str, str]:
    """The numbers and the words of a model's name, without what people leave out or put in."""
    plain = re.sub(r"(?<=\d)\.0(?!\d)", "", name[:64].lower())
    return "".join(re.findall(r"\d", plain)), _NO_LETTERS.sub("", plain)


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
    text = files("kling_tools").joinpath("capabilities.json").read_text(encoding="utf-8")
    return Capabilities.model_validate_json(text)
