"""Plans for a task before its prompt is written: a call that the rules pass, and its price."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kling_tools.errors import InvalidRequest
from kling_tools.faults import Fault
from kling_tools.products import PRODUCTS, STEPS, Product, StepEntry
from kling_tools.quoting import counted
from kling_tools.requests.arguments import AUTO, ImageToVideoArguments
from kling_tools.requests.drafts import read_draft
from kling_tools.requests.requests import Request
from kling_tools.rules.capabilities import Capabilities, Estimate, ProductRow, ProviderTerms
from kling_tools.rules.variants import ROUNDING

if TYPE_CHECKING:
    from kling_tools.rules.reviews import Review

__all__ = [
    "DEFAULT_TAKES",
    "MOST_SHOTS",
    "MOST_TAKES",
    "Plan",
    "Planner",
    "camera_control_of",
    "cut_into_shots",
    "first_of",
    "models_with_camera_control",
    "takes_within",
]


ONE_PICTURE: Product = "image2video"
"""The only product whose camera can be an argument."""

MOVES: tuple[tuple[str, str, int], ...] = (
    (r"\bpan(s|ning)?\b.*\bleft\b", "pan", -1),
    (r"\bpan(s|ning)?\b.*\bright\b", "pan", 1),
    (r"\btilt(s|ing)?\b.*\bup\b", "tilt", 1),
    (r"\btilt(s|ing)?\b.*\bdown\b", "tilt", -1),
    (r"\broll(s|ing)?\b.*\b(?<!-)clockwise\b", "roll", 1),
    (r"\broll(s|ing)?\b.*\b(counter|anti)-?clockwise\b", "roll", -1),
    (r"\bzoom(s|ing)?\b.*\bout\b", "zoom", 1),
    (r"\bzoom(s|ing)?\b.*\bin\b", "zoom", -1),
    (r"\b(truck|slid|doll|track)(y|e|s|es|ies|ing)?\b.*\bleft\b", "horizontal", -1),
    (r"\b(truck|slid|doll|track)(y|e|s|es|ies|ing)?\b.*\bright\b", "horizontal", 1),
    (r"\b(pedestal|crane|boom)(s|ing)?\b.*\bup\b", "vertical", 1),
    (r"\b(pedestal|crane|boom)(s|ing)?\b.*\bdown\b", "vertical", -1),
)
"""Pattern, field of `config`, sign. The signs follow Kling's image2video page, see
`kling_tools.requests.fields.CameraConfig`."""

USUAL = 5
SPEEDS = ((r"slow\w*|gentl[ey]|slight\w*", 3), (r"fast|quick\w*|rapid\w*", 8))
"""Strength of a move, out of 10. Kling names no scale; these values are ours."""


def camera_control_of(words: str) -> dict[str, Any] | None:
    """The `simple` camera_control for the words; None when they name none of Kling's moves, or
    several."""
    text = words.lower()
    found = [(axis, sign) for pattern, axis, sign in MOVES if re.search(pattern, text)]
    if len(found) != 1:
        return None
    ((axis, sign),) = found
    far = next((n for speed, n in SPEEDS if re.search(rf"\b({speed})\b", text)), USUAL)
    return {"type": "simple", "config": {axis: sign * far}}


def models_with_camera_control(capabilities: Capabilities) -> list[str]:
    """Each model that takes `camera_control` for one picture, with its conditions and its state."""
    shown = []
    for name in capabilities.models_of([ONE_PICTURE]):
        row = capabilities.product_row(name, ONE_PICTURE)
        for pattern in row.patterns("camera_control") if row else ():
            doubt = pattern.endswith(" ?")
            what, _, condition = pattern.removesuffix(" ?").partition(" ")
            mode, _, seconds = what.partition("/")
            words = [f"{mode} {seconds} s" if seconds else "", condition.replace("=", " ")]
            words.append("sources disagree" if doubt else "")
            retired = capabilities.retirement(name, ONE_PICTURE)
            if retired:
                words.append("retired" if retired.certain else "may have been retired")
            shown.append(f"{name} ({', '.join(word for word in words if word)})")
    return shown


MOST_SHOTS = 6
LEAST_SHOT_S = 1
"""Kling's limits for multi_prompt (its image2video page)."""

DEFAULT_S = "5"

USUAL_SHOT_S = 3
"""Seconds of a shot when the number of shots is not given."""

DEFAULT_TAKES = 4
"""Takes to plan when their number is not given and the budget pays for them."""

MOST_TAKES = 999
"""The limit of the tools' `take`."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Arguments of a `tool` that pass all rules, and their price (units, USD at list price). `what`
    names model, mode and length for a person. Where a video or sound is paid for that nobody has
    measured yet, the price is that of `each_s` seconds, 0 otherwise. `steps` are paid before it."""

    tool: str
    call: Mapping[str, Any]
    price: Estimate
    what: str
    warnings: tuple[Fault, ...]
    each_s: int = 0
    steps: tuple[StepEntry, ...] = ()


class Planner:
    """Plans for the configured providers, the default one first. Where there are several, each plan
    names the one that it is made for, or `chosen`."""

    def __init__(
        self, capabilities: Capabilities, terms: Sequence[ProviderTerms], chosen: str = ""
    ) -> None:
        self.capabilities = capabilities
        self._terms = terms
        self._chosen = chosen

    def plan(self, wanted: type[Request] = ImageToVideoArguments, /, **asked: Any) -> Plan:
        """The call for the given arguments of this class. Chooses provider, model and mode when not
        given.

        It takes the default provider and model and the cheapest mode if they can do it, else the
        first that can. Raises InvalidRequest with the faults of the choice with the fewest; of
        several, the last one, since the table goes from older models to abler ones.
        """
        given = {name: value for name, value in asked.items() if value not in ("", None)}
        timed = "duration" in wanted.setting_fields and "video" not in wanted.model_fields
        asked = ({"duration": DEFAULT_S} if timed else {}) | given
        if meant := self.capabilities.canonical(str(asked.get("model_name", ""))):
            asked["model_name"] = meant
        from kling_tools.rules.reviews import review

        least: Review | None = None
        for terms, call in self._choices(wanted, asked):
            found = review(read_draft(wanted, call), self.capabilities, terms)
            if not found.verdict.faults:
                return self._plan(call, terms, found)
            if least is None or len(found.verdict.faults) <= len(least.verdict.faults):
                least = found
        raise InvalidRequest(least.verdict.faults if least else [_no_provider(wanted)])

    def _choices(
        self, wanted: type[Request], asked: Mapping[str, Any]
    ) -> Iterator[tuple[ProviderTerms, dict[str, Any]]]:
        named = asked.get("provider", AUTO)
        field = wanted.setting_fields["mode"]
        for terms in self._terms:
            products = [p for p in terms.default_models if p in wanted.products]
            products += [p for p in wanted.products if p in terms.products and p not in products]
            if not products or named not in (AUTO, terms.name):
                continue
            if "model_name" in wanted.absent:
                names = [""]
            elif "model_name" in asked:
                names = [asked["model_name"]]
            else:
                default = terms.default_models.get(products[0], "")
                names = [default, *self.capabilities.living(products, terms.wires)]
            for name in dict.fromkeys(names):
                row = first_of(self.capabilities, name, products)
                modes = [asked[field]] if field in asked else (row.modes if row else ()) or (None,)
                for mode in modes:
                    chosen = {"model_name": name} if name else {}
                    yield terms, {**asked, **chosen, **({field: mode} if mode else {})}

    def _plan(self, call: dict[str, Any], terms: ProviderTerms, found: Review) -> Plan:
        entry, request = PRODUCTS[found.product], found.request
        if len(self._terms) > 1:
            call = {**call, "provider": call.get("provider", self._chosen or terms.name)}
        call = {name: call[name] for name in dict.fromkeys((*entry.inputs, *call)) if name in call}
        prices = found.row.units if found.row else ()
        each_s = max((p.seconds_at_once for p in prices), default=1) if request.lasts_as() else 0
        length = "" if each_s else request.setting.words()
        what = " ".join(part for part in (found.model_name, found.mode or "", length) if part)
        if each_s:
            found = found.lasting(each_s, self.capabilities, terms)
        warnings = tuple(found.verdict.warnings)
        steps = tuple(STEPS[step] for step in entry.steps if step != "speech" or request.words())
        return Plan(entry.tool, call, found.estimate, what, warnings, each_s, steps)


def first_of(
    capabilities: Capabilities, name: str, products: Iterable[Product]
) -> ProductRow | None:
    """The row of a model in the first of these products that it makes; None if it makes none."""
    rows = (capabilities.product_row(name, product) for product in products)
    return next((row for row in rows if row), None)


def _no_provider(wanted: type[Request]) -> Fault:
    made = PRODUCTS[wanted.products[0]].made
    return Fault("provider", "product_of_provider", f"no configured provider makes {made}.")


def cut_into_shots(total_s: int, shots: int | None) -> list[int]:
    """The whole seconds of each shot, as even as possible, longer ones first. Their sum is
    `total_s`.

    Raises InvalidRequest when there are more shots than seconds.
    """
    count = shots or max(1, min(MOST_SHOTS, round(total_s / USUAL_SHOT_S)))
    if count * LEAST_SHOT_S > total_s:
        raise InvalidRequest(
            [
                Fault(
                    "shots",
                    "shots_add_up",
                    f"each shot lasts at least {LEAST_SHOT_S} s, so "
                    f"{counted(count, 'shot')} do not fit into {total_s} s.",
                    f"{counted(total_s // LEAST_SHOT_S, 'shot')} or fewer, or a duration of at "
                    f"least {count * LEAST_SHOT_S} s",
                    "S2",
                )
            ]
        )
    each, over = divmod(total_s, count)
    return [each + (place < over) for place in range(count)]


def takes_within(budget_units: float, plan: Plan, takes: int | None) -> tuple[int, int]:
    """The number of takes to make, and the number that the budget pays for.

    Raises InvalidRequest when the budget is too small, or the price is unknown.
    """
    units = plan.price.units
    if units is None:
        message = f"the price of {plan.what} is unknown, so a budget cannot be kept."
        raise InvalidRequest(
            [Fault("model_name", "price_unknown", message, "a model of the table")]
        )
    payable = min(MOST_TAKES, int((budget_units + ROUNDING) / units)) if units else MOST_TAKES
    if payable < (takes or 1):
        count = takes or 1
        made = counted(count, f"take of {plan.what} costs", f"takes of {plan.what} cost")
        what = made if takes else f"{plan.what} costs"
        message = (
            f"{what} about {counted(count * units, 'unit')}, but the budget is {budget_units:g}."
        )
        ways = [f"takes {payable}"] if payable else ["a shorter video or a cheaper mode or model"]
        use = ", or ".join([f"at least {count * units:g}", *ways])
        raise InvalidRequest([Fault("budget_units", "budget_too_small", message, use)])
    return takes or min(payable, DEFAULT_TAKES), payable
