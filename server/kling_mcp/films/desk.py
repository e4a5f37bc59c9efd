"""Films for their callers: planned, agreed to, written down and made; and shown.

Each arrow is a function or a method here, in `planning`, `music` or `ledger.films`, or in
`kling_tools.requests.films`:

    asked     ──film_faults> answered   its arguments have faults
    asked     ──planned────> judged     every shot like a dry run; nothing is written
    judged    ──_dry───────> answered   a dry run: price, faults, and the plan that fits
    judged    ──film───────> answered   faults, a cap, other shots being made, or all is made
    judged    ──_agree─────> agreed     one question for the whole
    judged    ──_agree─────> answered   the person says no
    agreed    ──keep───────> kept       its music, if any, lies beside the ledger
    agreed    ──keep───────> answered   the disk does not take the music
    kept      ──put────────> making     its row, its shots and what was agreed to; with its lease
    kept      ──put────────> answered   other shots of this name are being made by now
    making    ──put────────> making     called again: whoever makes it goes on by what is asked now
    making    ──_make──────> succeed    every shot is made, and they are joined (`FilmMaking`)
    making    ──_make──────> failed     a shot is lacking, they cannot be joined, or it broke
    making    ──withdraw───> cancelled  its name is free at once; the lease is gone
    making    ──release────> left       its server ends
    making    ──...────────> left       its server is killed, and its lease runs out
    left      ──take_up────> making     another server goes on, or the same one started again
    left      ──put────────> making     called again: it goes on
    left      ──withdraw───> cancelled  the same, though no server makes it
    succeed   ──put────────> making     called again: joined anew where a shot or a wish has changed
    failed    ──put────────> making     called again: what is lacking is asked for anew
    cancelled ──put────────> making     called again: it goes on

The row of a film is `processing` while it is `making` or `left`: the first with a lease.
"""

from __future__ import annotations

import logging
import math
import uuid
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import anyio

from kling_mcp.films.caps import Capped, FilmCaps, price_of, without_faulty
from kling_mcp.films.earlier import Earlier, Remade, wished_before
from kling_mcp.films.existing import ExistingClips
from kling_mcp.films.length import JOINED_PX_S, joining_s, length_of, usual_time_s
from kling_mcp.films.making import FilmMaking, Means
from kling_mcp.films.music import FilmMusic
from kling_mcp.films.planning import (
    PlannedShot,
    planned,
    told_once,
    warned,
)
from kling_mcp.films.shapes import TRIMS, cropped, film_shape, lines_of, size_text, words_in
from kling_mcp.ledger import Record
from kling_mcp.ledger.films import FilmRow, being_made
from kling_mcp.principal import SPEND, Principal
from kling_mcp.tasks.film_views import FilmViews
from kling_tools.errors import InvalidRequest, KlingError, SpendCapReached
from kling_tools.faults import Fault
from kling_tools.quoting import counted, listed_shots
from kling_tools.requests.drafts import Draft
from kling_tools.requests.films import FilmArguments, film_faults
from kling_tools.results import ENDED, FilmReceipt, ShotView
from kling_tools.service import Confirm

if TYPE_CHECKING:
    from kling_mcp.settings.settings import Settings

__all__ = ["FilmDesk"]

logger = logging.getLogger(__name__)


@dataclass
class FilmDesk:
    """The films of a server, whose `settings` say what it may do; `makes` whether it is to make
    films."""

    means: Means
    settings: Settings
    makes: bool
    _making: dict[str, FilmMaking] = field(default_factory=dict)

    @cached_property
    def views(self) -> FilmViews:
        """Shows films."""
        means = self.means
        return FilmViews(means.ledger, means.storage, self._making.__contains__, self.takes_up)

    def takes_up(self, film: FilmRow) -> bool:
        """Whether this server makes a film that no server makes."""
        since = self.means.ledger.now() - self.settings.queue_hours * 3600
        return self.makes and film.asked_at > since

    async def film(
        self, draft: Draft[FilmArguments], principal: Principal, confirm: Confirm
    ) -> FilmReceipt:
        """Plan a film; without `dry_run` have it made, or go on with it. Raises InvalidRequest for
        faults, SpendCapReached for a cap below the price and where the person does not agree, and
        KlingError while a film of this name is made of other shots."""
        film, films = draft.arguments, self.means.ledger.films
        before = None
        if film.name and self.means.ledger.exists:
            before = await films.find(film.name, principal.name)
        if before and not (film.shots or film.defaults or draft.invalid):
            played = self.means.submission.clients.default.sandbox
            film = await wished_before(film, before, self.means.ledger, sandbox=played)
            draft = replace(draft, arguments=film)
        if faults := film_faults(draft):
            raise InvalidRequest(told_once(faults))
        if before:  # known by its id, or by another spelling of its name
            film = film.model_copy(update={"name": before.name})
        spent = dict.fromkeys((False, True), (0.0, 0.0))
        if before:  # read first: what another server reserves meanwhile is not counted twice
            price = self.means.submission.capabilities.usd_per_unit
            for played in spent:
                spent[played] = await films.spent(before.id, price, sandbox=played)
        pictures, means = self.means.pictures(principal), self.means
        clips = ExistingClips(means.rows(principal).find, means.storage)
        plan = await planned(means.submission, principal, pictures, film, before, clips)
        faults = told_once([fault for shot in plan for fault in shot.faults], film)
        of_shots = len(faults)
        seconds = _length(plan, film, faults)
        music = await FilmMusic.of(film, pictures, means.music, before)
        try:
            notes = []
            if music is not None:
                faults += music.faults
                sounds = any(shot.sounds for shot in plan)
                notes = music.notes(seconds, clips_sound=sounds)
            receipt = await self._receipt(film, plan, faults, seconds, notes)
            receipt.warnings[:0] = map(str, draft.verdict.warnings)
            shots = [shot.row() for shot in plan]
            now = means.ledger.now()
            other = before and before.is_leased(now) and not before.has_shots(shots)
            if before and other and not faults:
                if not film.dry_run:
                    raise being_made(before)
                faults.append(_name_taken(before))
                receipt.faults = [faults[-1].facts()]
            capped = None
            if not faults:
                remade = await Remade.of(plan, before, means.ledger)
                again = partial(planned, means.submission, principal, pictures)
                capped = await FilmCaps(
                    way=means.submission,
                    film=film,
                    spent=spent,
                    plan_again=lambda other: again(other, before, clips),
                    remade=remade,
                    is_made_now=before is not None and before.is_leased(now),
                ).check(plan)
                receipt.note = " ".join(filter(None, (receipt.note, remade.words()))) or None
            how, made = _how(film, music, plan), ""
            if before and not faults:
                earlier = await Earlier.of(before, means.ledger, means.storage)
                made = earlier.made(plan, shots, how)
                told = (receipt.note, earlier.replaced(shots, how))
                receipt.note = " ".join(filter(None, told)) or None
            rest = "" if len(faults) > of_shots else without_faulty(plan)
            if film.dry_run and not made:
                return _dry(receipt, capped, rest)
            if faults:
                raise InvalidRequest(faults, advice=rest)
            if capped:
                raise capped.error
            if before and made:
                receipt.task_id, receipt.status, receipt.usual_s = before.id, "succeed", None
                receipt.dry_run = bool(film.dry_run) or None
                receipt.next = f"Already made, and nothing is left to pay or to join: {made}."
                return receipt
            confirmed = await self._agree(film, plan, confirm)
            if music is not None:
                await music.keep()
        finally:
            if music is not None:
                music.close()
        owner = uuid.uuid4().hex
        written = await films.put(
            FilmRow(
                id="",
                principal=principal.name,
                name=film.name,
                request=how,
                max_units=film.max_units,
                max_usd=film.max_usd,
                confirmed=confirmed,
                shots=shots,
                usual_s=receipt.usual_s or 0.0,
            ),
            owner,
        )
        if music is not None:
            await music.sweep(films)
        if written.lease_owner == owner:
            self.means.background.start_soon(self._make, written.id, owner)
        receipt.task_id, receipt.status = written.id, "processing"
        receipt.next = (
            f'kling_wait_for_tasks with task_ids ["{written.id}"]. Called again with the same '
            "name and shots it goes on, and pays nothing twice."
        )
        return receipt

    async def take_up(self, film_id: str) -> None:
        """Make a film that another server left behind, unless a server makes it."""
        owner = uuid.uuid4().hex
        if await self.means.ledger.films.claim(film_id, owner):
            self.means.background.start_soon(self._make, film_id, owner)

    async def _make(self, film_id: str, owner: str) -> None:
        """Make a film under the lease of `owner`. Raises KlingError where the ledger cannot be
        used."""
        films = self.means.ledger.films
        film = await films.of_row(film_id)
        making = FilmMaking(self.means, Principal(film.principal, frozenset({SPEND})), film, owner)
        self._making[film_id] = making
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(self._renew, making)
                await making.go()
                group.cancel_scope.cancel()
        except Exception:
            logger.exception("The making of %s broke.", film_id)
            await making.broke()
        finally:
            if self._making.get(film_id) is making:
                del self._making[film_id]
            with anyio.CancelScope(shield=True), suppress(KlingError):
                await films.release(film_id, owner)

    async def _renew(self, making: FilmMaking) -> None:
        """Renew the lease; end the work when it is lost, or the film withdrawn."""
        films = self.means.ledger.films
        while True:
            await anyio.sleep(films.lease_s / 3)
            with suppress(KlingError):
                if not await films.renew(making.film.id, making.owner):
                    making.scope.cancel()

    async def withdraw(self, record: Record) -> list[Record] | None:
        """Make no more of a film. Returns what is still queued here for it alone, which is to be
        withdrawn, too; None for a film that has ended."""
        films = self.means.ledger.films
        rows = await self.means.ledger.several(await films.of_it_alone(record.id))
        idle = (*ENDED, "queued", "sending")
        at_work = sum(row.status not in idle for row in rows.values())
        told = "stopped"
        if at_work:
            told += f" while {counted(at_work, 'shot')} of its own ran, paid once made"
        if not await films.withdraw(record.id, told):
            return None
        if making := self._making.get(record.id):
            making.scope.cancel()
        own = await self.means.ledger.several(await films.of_it_alone(record.id))
        return [row for row in own.values() if row.status in ("queued", "sending")]

    async def _receipt(
        self,
        film: FilmArguments,
        plan: Sequence[PlannedShot],
        faults: Sequence[Fault],
        seconds: float | None,
        notes: Sequence[str],
    ) -> FilmReceipt:
        """The plan as an answer."""
        price = price_of(plan)
        embedded = [
            shot.create.request.provider.embedded
            for shot in plan
            if shot.create is not None and shot.new_row is not None
        ]
        sandbox = bool(embedded) and all(embedded)
        settings = self.settings
        usual = await usual_time_s(
            plan,
            self.means.ledger,
            settings.sandbox_slots if sandbox else None,
            settings.sandbox_queue_s + settings.sandbox_render_s if sandbox else None,
        )
        if film.join and seconds:
            side = settings.sandbox_side_px if sandbox else max(map(lines_of, plan))
            px_s = await self.means.ledger.films.joined_px_s() or JOINED_PX_S
            usual += joining_s(seconds, side, film_shape(plan, film), px_s)
        shots, what = [], ""
        for shot in plan:
            view = ShotView(
                shot=shot.number,
                status=shot.made.status if shot.made else None,
                task_id=shot.made.handle if shot.made else None,
                what=shot.setting if shot.setting != what and not shot.faults else None,
                units=shot.units,
                next="cannot be made" if shot.faults else None,
            )
            what = what if shot.faults else shot.setting
            shots.append(view)
        able = [shot for shot in plan if not shot.faults]
        lost = [*cropped(plan, film)]
        trims = map(str, told_once([fault for fault in lost if fault.rule == TRIMS]))
        receipt = FilmReceipt(
            name=film.name,
            batch=not film.join or None,
            estimate_units=None if price.units is None or not able else round(price.units, 4),
            estimate_usd=None if price.usd is None or not able else round(price.usd, 2),
            usual_s=None if faults else round(usual) or None,
            seconds=round(seconds, 3) if seconds and film.join else None,
            size=size_text(plan, film) or None if film.join else None,
            shots=shots,
            faults=[fault.facts() for fault in faults],
            warnings=warned(plan, [f for f in lost if f.rule != TRIMS]),
            note=" ".join(filter(None, [*trims, *notes, _played(plan)])) or None,
            requests=_requests(plan) if film.dry_run == "full" else [],
        )
        receipt.say_price_from(price.price_from)
        return receipt

    async def _agree(
        self, film: FilmArguments, plan: Sequence[PlannedShot], confirm: Confirm
    ) -> float | None:
        """Ask the person once for the whole where a setting requires that. Returns the units to
        which they agreed, None where nobody had to be asked. Raises SpendCapReached when they do
        not agree."""
        above, price = self.means.submission.caps.confirm_above, price_of(plan)
        todo = [shot for shot in plan if not shot.is_paid]
        if above is None or not todo or (price.units is not None and price.units <= above):
            return None
        setting = f"KLING_MCP_CONFIRM_ABOVE_UNITS ({above:g})"
        whole = "film" if film.join else "batch"
        question = (
            f'Make the {whole} "{film.name}" for {price}? {counted(len(todo), "shot")} of '
            f"{len(plan)} to make: {', '.join(dict.fromkeys(shot.setting for shot in todo))}."
        )
        if not price.sandbox and (played := _played(todo)):
            question += f" {played}"
        if not await confirm(question, setting):
            raise SpendCapReached(
                f"The person did not agree to {price}, which {setting} requires.",
                advice="Ask what they would like instead; dry_run shows prices.",
            )
        return math.inf if price.units is None else price.units


def _how(
    film: FilmArguments, music: FilmMusic | None, plan: Sequence[PlannedShot]
) -> dict[str, Any]:
    """How the film is joined, as the ledger keeps it; its music is kept beside the ledger."""
    how: dict[str, Any] = {"join": film.join}
    if film.join:
        how |= {
            "crossfade_s": film.crossfade_s,
            "aspect_ratio": film.aspect_ratio,
            "fit": film.fit,
            "words_in": words_in(plan),
        }
    if music is not None:
        how["music"] = music.kept()
    return how


def _played(plan: Sequence[PlannedShot]) -> str:
    """Which shots cost nothing, as a sandbox makes them."""
    played = [shot.number for shot in plan if shot.new_row and shot.new_row.sandbox]
    if len(played) == len(plan):
        return "Sandbox: nothing is charged."
    them = "it" if len(played) == 1 else "them"
    told = f"{listed_shots(played).capitalize()}: sandbox, nothing is charged for {them}."
    return told if played else ""


def _requests(plan: Sequence[PlannedShot]) -> list[dict[str, Any]]:
    """What would be sent for each shot that is not made yet."""
    judged = [
        (shot.number, shot.create.request)
        for shot in plan
        if shot.create is not None and not shot.is_paid and not shot.faults
    ]
    return [
        {
            "shot": number,
            "method": "POST",
            "path": request.body.path,
            "body": request.body.preview(request.external_task_id),
        }
        for number, request in judged
        if request.body.can_be_shown
    ]


def _length(plan: Sequence[PlannedShot], film: FilmArguments, faults: list[Fault]) -> float | None:
    """Seconds of the film; a crossfade that its shots are too short for is a fault."""
    try:
        return length_of(plan, film)
    except KlingError as error:
        use = error.advice.removeprefix("Give ").rstrip(".")
        faults.append(Fault("crossfade_s", "crossfade_too_long", error.message, use))
        return None


def _name_taken(before: FilmRow) -> Fault:
    error = being_made(before)
    use = "another name, or this one once it has ended; kling_cancel_task ends it"
    return Fault("name", "film_being_made", error.message, use)


def _dry(receipt: FilmReceipt, capped: Capped | None, rest: str) -> FilmReceipt:
    """The receipt of a dry run; with faults it says what the `rest` costs."""
    receipt.dry_run = True
    receipt.next = "Tell the person the price; then call again without dry_run."
    if receipt.faults:
        receipt.next = " ".join(filter(None, ("Correct the faults, then call again.", rest)))
    if capped:
        told = Fault(capped.field, "spend_cap", capped.error.message).facts()
        receipt.faults = [*receipt.faults, told]
        receipt.next = capped.error.advice.replace(
            "dry_run gives that as arguments to copy.", "fits has that as arguments to copy."
        )
        receipt.fits = capped.fits
    return receipt
