"""The account: providers, what is left there, caps, what was spent, folders, and what is wrong."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import anyio

from kling_mcp.doctor.findings import Finding
from kling_mcp.ledger.reserving import DAY_S, span
from kling_mcp.providers.auth import SignedToken
from kling_mcp.providers.pool import Clients
from kling_tools.products import MADE, Made
from kling_tools.requests.times import moment, zone_named
from kling_tools.results import Account, Bill, Cap, ProviderAccount, Spent
from kling_tools.rules.capabilities import Capabilities, Estimate

if TYPE_CHECKING:
    from kling_mcp.ledger import DayCaps, Ledger
    from kling_mcp.principal import Principal
    from kling_mcp.providers.configured import Configured
    from kling_mcp.settings.settings import Settings

__all__ = ["AccountDesk", "price_of"]

ASKED_FOR_S = 60.0
"""Seconds for which what the providers answered is told again, without asking them, unless
something was made or ended since."""

BILL_S = 7 * DAY_S
"""Seconds before now that a comparison with the bill covers."""

WITHIN_S = 5.0
"""Seconds for the comparison with one bill, with its pauses."""

NOT_IN_TIME = "It did not come in time; kling-mcp tasks --reconcile waits for it."

PER_TASK = "KLING_MCP_MAX_UNITS_PER_TASK"
PER_TASK_PICTURES = "KLING_MCP_MAX_IMAGE_UNITS_PER_TASK"
PER_TASK_USD = "KLING_MCP_MAX_USD_PER_TASK"

SILENT = "This provider does not tell what is left: see its web page."
NOT_TOLD = "What is left was not told."
BY_BALANCE = "It has no resource pack: its balance pays."
PLAYED = "The sandbox in this program answers: nothing is charged, videos are test clips."
PLAYED_ELSEWHERE = "A sandbox answers there: nothing is charged, videos are test clips."


def price_of(
    provider: str,
    units: float | None,
    clients: Clients,
    capabilities: Capabilities,
    product: Made = "image2video",
) -> Estimate:
    """The price of so many units of a product at a provider: by its row, or Kling's list price. At
    any other reseller that says how much is made, and the reseller sets its own."""
    row = MADE[product]
    if provider not in clients.names:
        return Estimate(units, None, provider, unit=row.unit)
    terms = clients.configured(provider).row.terms
    return terms.price(units, capabilities.usd_per_unit, row.unit, row.unit_weight)


class AccountDesk:
    """Tells each caller of the account. A `private` one, of a server for a team, names no path and
    nothing that is wrong with the server: those who run it have `kling-mcp doctor`."""

    def __init__(
        self,
        settings: Settings,
        providers: Mapping[str, Configured],
        clients: Clients,
        ledger: Ledger,
        capabilities: Capabilities,
        day_caps: DayCaps,
        clock: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
        *,
        private: bool,
    ) -> None:
        self._settings = settings
        self._providers = providers
        self._clients = clients
        self._ledger = ledger
        self._capabilities = capabilities
        self._day_caps = day_caps
        self._clock = clock
        self._private = private
        self._sleep = sleep
        self._found: tuple[float, object, Sequence[Finding], Sequence[Bill]] | None = None
        self._asking = anyio.Lock()

    async def account(self, principal: Principal) -> Account:
        """The account as this caller may see it. Providers have four seconds to answer questions
        that cost nothing. Raises NotConfigured for a ledger that cannot be used."""
        found, bills = await self._findings()
        settings = self._settings
        shown = not self._private
        return Account(
            providers=[self._provider(p, found, bills) for p in self._providers.values()],
            caps=await self._caps(principal),
            spent=await self._spent(principal),
            played=await self._spent(principal, sandbox=True),
            bills=bills if shown else [],
            saves_to=str(settings.output_dir) if shown else None,
            saves=settings.save,
            pictures_from=[str(root) for root in settings.image_roots] if shown else [],
            wrong=[_said(f) for f in found if f.level in ("warning", "wrong")] if shown else [],
        )

    async def _findings(self) -> tuple[Sequence[Finding], Sequence[Bill]]:
        """What the doctor finds, and the providers' bills, at most `ASKED_FOR_S` seconds old."""
        from kling_mcp.doctor.examination import look_over

        async with self._asking:
            now = self._clock()
            made: object = None
            if self._ledger.exists:
                made = [dict(row) for row in await self._ledger.spent_since(0.0)]
            last = self._found
            if last is None or last[1] != made or not 0 <= now - last[0] < ASKED_FOR_S:
                bills: dict[str, Bill] = {}
                async with anyio.create_task_group() as group:
                    for name in self._billed:
                        group.start_soon(self._compare, name, bills)
                    found = await look_over(self._settings, self._providers, self._clock)
                told = [bills[name] for name in self._billed if name in bills]
                last = self._found = now, made, found, told
            return last[2:]

    @property
    def _billed(self) -> list[str]:
        """The providers whose bills are compared for a person's own server, once it has tasks."""
        if self._private or not self._ledger.exists:
            return []
        return [name for name, p in self._providers.items() if p.row.tells_units and not p.sandbox]

    async def _compare(self, name: str, bills: dict[str, Bill]) -> None:
        """Enter the bill of a provider, or why it is missing. Raises nothing of the provider's."""
        from kling_mcp.tasks.bills import bill_of, since_text

        since = self._ledger.now() - BILL_S
        bills[name] = Bill(provider=name, since=since_text(since), note=NOT_IN_TIME)
        with anyio.move_on_after(WITHIN_S):
            await self._sleep(1.0)  # the account is asked beside this, once a second at most
            client = await self._clients.get(name)
            provider = self._providers[name]
            bill = await bill_of(provider, client, self._ledger, since, sleep=self._sleep)
            bills[name] = bill.shortened()

    def _provider(
        self, provider: Configured, found: Sequence[Finding], bills: Sequence[Bill]
    ) -> ProviderAccount:
        from kling_mcp.doctor.setting_checks import key_origins

        row, name = provider.row, provider.name
        answer = ProviderAccount(provider=name)
        if provider.embedded:
            answer.note = PLAYED
            return answer
        answer.host = urlsplit(provider.base_url).hostname
        origins = key_origins(provider, self._settings)
        answer.key = (
            "access key and secret key"
            if isinstance(provider.credentials, SignedToken)
            else "API key"
        )
        if not self._private:
            answer.by = " and ".join(f"{key} from {origins[key] or 'an option'}" for key in origins)
        regions = {url.rstrip("/"): region for region, url in row.regions.items()}
        answer.region = regions.get(provider.base_url)
        facts = [f.facts for f in found if f.area == "account" and f.facts.get("provider") == name]
        left = next((fact["units_left"] for fact in facts if "units_left" in fact), None)
        answer.units_left = left
        told = any("units_left" in fact for fact in facts)
        answer.balance_left = next((b.left for b in bills if b.provider == name), None)
        if provider.sandbox:
            answer.note = PLAYED_ELSEWHERE
        elif not row.tells_units:
            answer.note = SILENT
        elif left is None:
            answer.note = BY_BALANCE if told else NOT_TOLD
        return answer

    async def _caps(self, principal: Principal) -> list[Cap]:
        """The caps, with what is used of those of a day; another caller's use is not told."""
        played = self._clients.default.sandbox
        settings, public = self._settings, self._capabilities.usd_per_unit
        caps = []
        if (most := settings.max_units_per_task) is not None:
            caps.append(Cap(of="one video", units=most, setting=PER_TASK))
        if (most := settings.max_image_units_per_task) is not None:
            caps.append(Cap(of="one task of pictures", image_units=most, setting=PER_TASK_PICTURES))
        if (most := settings.max_usd_per_task) is not None:
            caps.append(Cap(of="one video", usd=most, setting=PER_TASK_USD))
        for cap in self._day_caps.all():
            if principal.only and not cap.own:
                continue
            used, frees = 0.0, None
            if self._ledger.exists:
                whose = principal.name if cap.own else None
                of_one = public if cap.usd else None
                used = await self._ledger.spent_in_a_day(
                    whose, sandbox=played, usd_per_unit=of_one, pictures=cap.pictures
                )
                frees = await self._ledger.frees_next(
                    whose, sandbox=played, usd_per_unit=of_one, pictures=cap.pictures
                )
            shown = Cap(of="24 hours", used=round(used, 4), setting=cap.setting)
            if frees:
                shown.frees, shown.frees_in = round(frees[0], 4), span(frees[1])
            kind = "image_units" if cap.pictures else "usd" if cap.usd else "units"
            setattr(shown, kind, cap.most)
            caps.append(shown)
        return caps

    async def _spent(self, principal: Principal, *, sandbox: bool = False) -> list[Spent]:
        """What was spent in each span of time at each provider: real money, or the units of the
        sandbox."""
        if not self._ledger.exists:
            return []
        now = self._ledger.now()
        spans = {
            "today": moment("today", now, zone_named(self._settings.timezone)),
            "7 days": now - 7 * DAY_S,
            "30 days": now - 30 * DAY_S,
        }
        return [
            self._played_at(span, row) if sandbox else self._spent_at(span, row)
            for span, since in spans.items()
            for row in await self._ledger.spent_since(
                since, principal=principal.only, sandbox=sandbox
            )
        ]

    def _played_at(self, span: str, row: Mapping[str, Any]) -> Spent:
        """What the sandbox told; its units, those told and those estimated together."""
        units = row["units"] + row["estimated_units"]
        told = self._spent_at(span, {**row, "units": units, "estimated_units": 0})
        return told.model_copy(update={"sandbox": True})

    def _spent_at(self, span: str, row: Mapping[str, Any]) -> Spent:
        def usd(units: float | None, product: Made) -> float | None:
            clients, capabilities = self._clients, self._capabilities
            price = price_of(row["provider"], units, clients, capabilities, product)
            return None if price.usd is None else round(price.usd, 2)

        of_one = price_of(row["provider"], 1, self._clients, self._capabilities)
        return Spent(
            price_from=of_one.price_from,
            span=span,
            provider=row["provider"],
            videos=row["videos"],
            units=round(row["units"], 4),
            usd=usd(row["units"], "image2video"),
            money=round(row["money"], 4),
            currency=row["currency"] or None,
            estimated_units=round(row["estimated_units"], 4),
            unpriced=row["unpriced"],
            pictures=row["pictures"] or None,
            assets=row["assets"] or None,
            image_units=round(row["image_units"], 4) or None,
            image_usd=usd(row["image_units"] or None, "image-generation"),
        )


def _said(finding: Finding) -> str:
    return f"{finding.text} {finding.advice}".strip()
