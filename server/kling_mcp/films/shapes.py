"""The shape of a film before its clips are there: what is asked for so that they have it, and what
of each clip is kept in it."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from functools import lru_cache
from io import BytesIO
from typing import Any, Protocol

from kling_mcp.inputs.opening import open_pictures
from kling_mcp.inputs.picture import Picture
from kling_mcp.inputs.policy import PicturePolicy
from kling_mcp.ledger.films import FilmRow, digest_of
from kling_mcp.submission.receipts import LINES, RATIOS
from kling_tools.faults import Fault
from kling_tools.requests.films import PREVIOUS, FilmArguments, shape_of

__all__ = [
    "TRIMS",
    "cropped",
    "film_shape",
    "ratio_of_words",
    "shape_of_picture",
    "size_text",
    "stand_in",
    "words_in",
]

WIDE = Fraction(16, 9)

CHOSEN = ("16:9", "9:16", "1:1")
"""The shapes that a shot without a first picture can be asked for in."""

TRIMS = "film_trims"

WHOLE = 0.95
"""The share of a picture of which nobody misses the rest."""

USUAL = 0.75
"""The share below which it is a warning: a photo of 4:3 keeps that much in 16:9."""

ROUNDED = 0.02
"""How much the sides of a clip may differ from a ratio that it was asked for in."""


class Shaped(Protocol):
    """A shot that was judged: its clip's `shape` is the width by the height, None where that is not
    known; `size` its pixels, of a file that is there."""

    number: int
    request: dict[str, Any]
    mode: str
    shape: Fraction | None
    size: tuple[int, int] | None


def shape_of_picture(picture: Picture | None) -> Fraction | None:
    """Its width by its height; None for one at a URL, which is not read here."""
    if picture is None or not picture.width or not picture.height:
        return None
    return Fraction(picture.width, picture.height)


async def ratio_of_words(film: FilmArguments, policy: PicturePolicy, before: FilmRow | None) -> str:
    """The ratio in which shots without a first picture are asked for, so that the film keeps all of
    them: that of `aspect_ratio`, else the one they had `before` where one of them is made, else of
    the film's first picture. Empty where they may have Kling's default."""
    if not film.join and not film.aspect_ratio:
        return ""
    if film.aspect_ratio:
        return nearest_ratio(shape_of(film.aspect_ratio))
    if before is not None:
        had = str(before.request.get("words_in", ""))
        made = {shot.digest for shot in before.shots if shot.record_id}
        pairs = zip(film.given(), film.given(had), strict=True)
        if any(digest_of(then) in made for now, then in pairs if _takes_ratio(now)):
            return had
    given = film.given()
    first = next((s for s in given if str(s.get("image") or PREVIOUS) != PREVIOUS), None)
    if first is None or not any(map(_takes_ratio, given)):
        return ""
    found, _ = await open_pictures(
        [("image", str(first["image"]))], policy, str(first.get("fit", ""))
    )
    shape = None
    for picture in filter(None, found):
        shape = shape_of_picture(picture)
        picture.close()
    if shape is None and before is not None:
        return str(before.request.get("words_in", ""))
    ratio = nearest_ratio(shape)
    return "" if ratio == CHOSEN[0] else ratio


def _takes_ratio(shot: Mapping[str, Any]) -> bool:
    """Whether a shot is asked for in the ratio of the film: neither a picture nor it itself says
    another one."""
    return not (shot.get("image") or shot.get("video") or shot.get("aspect_ratio"))


def words_in(plan: Sequence[Shaped]) -> str:
    """The ratio in which shots without a first picture are asked for; empty without any."""
    asked = (shot.request for shot in plan if not shot.request.get("image"))
    return next((str(r["aspect_ratio"]) for r in asked if r.get("aspect_ratio")), "")


def nearest_ratio(shape: Fraction | None) -> str:
    """The ratio of `CHOSEN` that keeps most of this shape; the first one for none."""
    if shape is None:
        return CHOSEN[0]
    return max(CHOSEN, key=lambda ratio: kept(shape_of(ratio) or WIDE, shape))


def kept(shape: Fraction, within: Fraction) -> Fraction:
    """The share of a picture of this shape that is left when it covers another one."""
    return min(shape / within, within / shape)


def film_shape(plan: Sequence[Shaped], film: FilmArguments) -> Fraction | None:
    """The shape that the film will have; None where that is not known."""
    return shape_of(film.aspect_ratio) if film.aspect_ratio else plan[0].shape


def lines_of(shot: Shaped) -> int:
    """Pixels of the shorter side of its clip, in 16:9."""
    return min(shot.size) if shot.size else LINES.get(shot.mode, LINES["std"])


def size_text(plan: Sequence[Shaped], film: FilmArguments) -> str:
    """The film's size: that of a first clip which is there, else as far as Kling's pages tell it:
    its pixels in 16:9 and 9:16, else its lines and its ratio. Empty where nothing is known."""
    if plan[0].size and not film.aspect_ratio:
        wide, high = (side - side % 2 for side in plan[0].size)
        return f"{wide}x{high}"
    shape = film_shape(plan, film)
    sides = [lines_of(shot) for shot in plan if shot.size or shot.mode in LINES]
    if shape is None or not sides:
        return ""
    lines = max(sides) if film.aspect_ratio else sides[0]
    ratio = _named(shape)
    if ratio not in ("16:9", "9:16"):
        return f"{lines}p, {ratio}"
    long = lines * 16 // 9
    return f"{long}x{lines}" if ratio == "16:9" else f"{lines}x{long}"


def _named(shape: Fraction) -> str:
    near = (name for name in RATIOS if kept(shape_of(name) or WIDE, shape) >= 1 - ROUNDED)
    return next(near, f"{float(shape):.2f}:1" if shape >= 1 else f"1:{float(1 / shape):.2f}")


def cropped(plan: Sequence[Shaped], film: FilmArguments) -> Iterator[Fault]:
    """What to say of each shot of which the film keeps a part only, or that gets bars. Its rule is
    `film_trims` where the part is large."""
    shape = film_shape(plan, film) if film.join else None
    if shape is None:
        return
    shapes = [shot.shape for shot in plan if shot.shape is not None]
    best = max(shapes, key=lambda one: sum(kept(other, one) for other in shapes), default=shape)
    for shot in plan:
        share = float(kept(shot.shape, shape)) if shot.shape is not None else 1.0
        if share >= WHOLE:
            continue
        field, ratio = f"shots[{shot.number}]", _named(shape)
        rule = TRIMS if share >= USUAL else "film_crops"
        if film.fit == "pad":
            message = f"black bars fill {1 - share:.0%} of the film, which is {ratio}."
            yield Fault(
                field, rule, message, "fit: cover of the whole film to cut the edges off instead"
            )
            continue
        use = "fit: pad of the whole film for black bars instead"
        if _named(best) != ratio:
            use += f", or aspect_ratio {_named(best)}"
        message = f"the film is {ratio} and keeps {share:.0%} of the picture."
        yield Fault(field, rule, message, use)


SHORT_PX = 320
"""The shorter side of a picture that stands in for a frame: Kling takes none below 300."""

MOST = Fraction(5, 2)
"""Width by height of a picture that Kling takes, and height by width, at most."""


@lru_cache(maxsize=16)
def stand_in(shape: Fraction | None) -> str:
    """A picture in the place of a frame that is not there yet."""
    from PIL import Image

    shape = min(MOST, max(1 / MOST, shape or WIDE))
    sides = round(SHORT_PX * max(shape, Fraction(1))), round(SHORT_PX * max(1 / shape, Fraction(1)))
    file = BytesIO()
    Image.new("RGB", sides, "gray").save(file, "PNG")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
