"""The whole judgement of a request before anything is sent: route, rules, abilities, price."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from kling_tools.faults import Fault, Verdict
from kling_tools.products import PRODUCTS, PRODUCTS_BY_TOOL, Product
from kling_tools.quoting import counted
from kling_tools.requests.arguments import SpendingChoices
from kling_tools.requests.drafts import Draft
from kling_tools.requests.fields import PROMPT_LIMIT
from kling_tools.requests.requests import (
    EditVideoRequest,
    Request,
    ShotsRequest,
    VideoRequest,
    with_references,
)
from kling_tools.rules.abilities import apply_abilities, wire_mode
from kling_tools.rules.between_fields import apply_rules
from kling_tools.rules.capabilities import (
    Capabilities,
    Estimate,
    ProductRow,
    ProviderTerms,
    Wire,
    estimate,
)
from kling_tools.rules.checks import apply_checks, shots_in_prompt
from kling_tools.rules.prompt_warnings import (
    language_warning,
    length_warnings,
    token_warnings,
    unspoken_warning,
)

__all__ = ["Review", "other_tool", "review"]


@dataclass(frozen=True, slots=True)
class Review:
    """A judged request: its product and model, its price, and its verdict.

    `row` has the model's abilities in this product, None if they are unknown. `mode` is None for a
    model without modes. `wire` is the standard by which it goes. A request without
    `verdict.faults` may be sent.
    """

    request: Request
    product: Product
    model_name: str
    row: ProductRow | None
    mode: str | None
    estimate: Estimate
    verdict: Verdict
    wire: Wire = "legacy"

    def lasting(self, seconds: int, capabilities: Capabilities, terms: ProviderTerms) -> Review:
        """The same for a video of so many seconds, which the request did not tell."""
        request = self.request.model_copy(update={"duration": str(seconds)})
        price = _price(request, self.product, self.model_name, capabilities, terms)
        return replace(self, request=request, estimate=price)


def review(draft: Draft[Request], capabilities: Capabilities, terms: ProviderTerms) -> Review:
    """Judge a request for one provider, with every fault and warning; raises nothing."""
    request = draft.arguments
    verdict = Verdict(list(draft.verdict.faults), list(draft.verdict.warnings))
    product, model_name = _route(draft, capabilities, terms, verdict)
    rules = _with_tools_of(terms, apply_rules(draft))
    if product in terms.prompt_optional:
        rules = _without_prompt(rules)
    verdict.extend(rules)
    verdict.extend(apply_checks(draft))
    if draft.invalid.isdisjoint(("prompt", "multi_prompt", "image_list", "element_list")):
        verdict.warnings.extend(unspoken_warning(request))
        for token in token_warnings(request):
            named = token.rule == "token_unanswered"
            (verdict.faults if named else verdict.warnings).append(token)
    verdict.warnings.extend(language_warning(request))
    wire = capabilities.wire_for(model_name, product, request.given(), terms)
    verdict.extend(apply_abilities(draft, model_name, product, capabilities, terms, wire))
    verdict.extend(_terms(draft, product, terms))
    unsent = request.unsent() - request.absent
    for name in sorted(unsent & request.model_fields_set & request.given() - draft.invalid):
        message = f"is not sent: this video is as long as its {request.lasts_as()}."
        verdict.warnings.append(Fault(name, "length_of_medium", message))
    wished = "keep_original_sound" in request.model_fields_set - draft.invalid
    if wished and isinstance(request, EditVideoRequest) and request.loses_sound:
        message = "is not sent: a new video has no sound of the one before it."
        verdict.warnings.append(Fault("keep_original_sound", "sound_of_edit", message))
    row = capabilities.product_row(model_name, product)
    if draft.invalid.isdisjoint(("prompt", "duration", "refer_type")):
        verdict.warnings.extend(length_warnings(request, row.durations if row else ()))
    if wire == "new" and row and row.patterns("multi_shot") and isinstance(request, ShotsRequest):
        always = not capabilities.on_wire(model_name, product, wire).multi_shot
        cuts = always or (request.multi_shot and request.shot_type != "customize")
        if cuts and draft.invalid.isdisjoint(("prompt", "duration")):
            verdict.faults.extend(shots_in_prompt(request))
    mode = wire_mode(row, request.setting.mode)
    price = _price(request, product, model_name, capabilities, terms)
    unset = getattr(request, "cfg_scale", None) == 0
    if unset and not _takes_cfg_scale(row, product, terms):
        request = request.model_copy(update={"cfg_scale": None})
    return Review(request, product, model_name, row, mode, price, verdict, wire or terms.wires[0])


def _price(
    request: Request,
    product: Product,
    model_name: str,
    capabilities: Capabilities,
    terms: ProviderTerms,
) -> Estimate:
    listed = estimate(
        capabilities,
        product,
        request.setting,
        model_name=model_name,
        voice="voice_list" in request.given(),
    )
    weight = PRODUCTS[product].unit_weight
    return terms.price(listed.units, capabilities.usd_per_unit, listed.unit, weight)


def _takes_cfg_scale(row: ProductRow | None, product: Product, terms: ProviderTerms) -> bool:
    """Whether cfg_scale 0 is a value: the weakest hold on the prompt, in Kling's range of 0 to 1.
    For models without cfg_scale it is a blank that a host filled in."""
    lost = "cfg_scale" in terms.loses.get(product, {})
    return row is not None and bool(row.patterns("cfg_scale")) and not lost


def _with_tools_of(terms: ProviderTerms, rules: Verdict) -> Verdict:
    """The verdict without advice to take a tool for which the provider has no product."""

    def advice(use: str) -> str:
        if not use:
            return ""
        ways = use.split("; or ")
        return "; or ".join(way for way in ways if not lacking.intersection(way.split()))

    if not rules.faults:
        return rules
    lacking = {
        tool for tool, made in PRODUCTS_BY_TOOL.items() if not set(made) & set(terms.products)
    }
    return Verdict([replace(f, use=advice(f.use)) for f in rules.faults], rules.warnings)


def _without_prompt(rules: Verdict) -> Verdict:
    """The verdict at a provider that takes a picture alone: a missing prompt becomes a warning."""
    missing = [fault for fault in rules.faults if fault.rule == "prompt_required"]
    kept = [fault for fault in rules.faults if fault.rule != "prompt_required"]
    told = [
        replace(fault, message="none is given: the model decides what moves.") for fault in missing
    ]
    return Verdict(kept, [*rules.warnings, *told])


def _route(
    draft: Draft[Request],
    capabilities: Capabilities,
    terms: ProviderTerms,
    verdict: Verdict,
) -> tuple[Product, str]:
    """The product that serves the model (Kling has two for several pictures), and the model's name.

    It adds a fault if the provider has no product for the request, or if the model makes another
    kind of video.
    """
    request = draft.arguments
    served = [product for product in request.products if product in terms.products]
    if not served:
        product = request.products[0]
        message = f"{terms.name} makes no {PRODUCTS[product].makes}."
        verdict.faults.append(Fault("provider", "product_of_provider", message))
        return product, request.model_name
    if not request.model_name:
        product = next(iter(p for p in terms.default_models if p in served), served[0])
        return product, terms.default_models.get(product, "")
    name = capabilities.known_as(request.model_name, served) or request.model_name
    model = capabilities.models.get(name)
    if model is None:
        return served[0], request.model_name
    able = [product for product in served if product in model.products]
    if not able and "model_name" not in draft.invalid:
        names = capabilities.living(served, terms.wires) or capabilities.models_of(served)
        noun = PRODUCTS[served[0]].result
        message = f"{name} does not make this kind of {noun} at {terms.name}."
        use = other_tool(request, capabilities, terms) or " or ".join(names[:3])
        verdict.faults.append(Fault("model_name", "model_of_product", message, use))
    return (able or served)[0], request.model_name


def other_tool(request: Request, capabilities: Capabilities, terms: ProviderTerms) -> str:
    """The tool that makes the request with its model at this provider, as advice; empty where its
    own tool does, or no other makes the same of all of the request: each does something else with a
    video."""
    if request.media():
        return ""
    served = [product for product in request.products if product in terms.products]
    name = capabilities.known_as(request.model_name, served) or request.model_name
    model = capabilities.models.get(name)
    if model is None or not model.products.keys().isdisjoint(served):
        return ""
    listed: Sequence[str] = getattr(request, "image_list", ())
    given = request.given() & request.model_fields_set
    pictures = given & {"image", "image_list"}
    common = {*VideoRequest.model_fields, *SpendingChoices.model_fields}
    for product in terms.products:
        row, inputs = model.products.get(product), PRODUCTS[product].inputs
        place = next((field for field in ("image", "image_list") if field in inputs), "")
        lost = given - pictures - common - {*inputs}
        if row is None or not {*row.wires} & {*terms.wires} or lost:
            continue
        if PRODUCTS[product].result != PRODUCTS[request.products[0]].result:
            continue
        if capabilities.retirement(name, product) or bool(pictures) is not bool(place):
            continue
        if place == "image_list" or len(listed) <= 1:
            there = f" as {place}" if place and place not in pictures else ""
            what = f" with the picture{there}" if there else ""
            return f"{PRODUCTS[product].tool}{what}, which has {name}"
    return ""


def _terms(draft: Draft[Request], product: Product, terms: ProviderTerms) -> Verdict:
    """Faults of fields that this provider would lose, and warnings where its documented limits are
    narrower than Kling's."""
    verdict = Verdict()
    request = draft.arguments
    given = request.given()
    for field, reason in terms.loses.get(product, {}).items():
        if field in given and field not in draft.invalid:
            verdict.faults.append(
                Fault(field, "lost_at_provider", f"{reason}.", f"a request without {field}")
            )
    if PRODUCTS[product].names_pictures and "prompt" not in draft.invalid:
        sent = with_references(request.prompt, request.references())
        if len(sent) > PROMPT_LIMIT:
            over = len(sent) - PROMPT_LIMIT
            message = f"with the names of the material it is {counted(over, 'character')} too long."
            verdict.faults.append(
                Fault("prompt", "prompt_with_references", message, "a shorter text")
            )
    for field, limit in terms.documented_lengths.items():
        length = len(getattr(request, field, ""))
        if length > limit:
            verdict.warnings.append(
                Fault(
                    field,
                    "documented_length",
                    f"{terms.name} documents {limit} characters, this has {length}; "
                    "it may be cut or refused.",
                )
            )
    listed = len(getattr(request, "image_list", ()))
    if 0 < listed < terms.least_images:
        verdict.faults.append(
            Fault(
                "image_list",
                "least_images",
                f"{terms.name} needs at least {counted(terms.least_images, 'picture')}.",
                f"{counted(terms.least_images, 'picture')} or more",
            )
        )
    return verdict
