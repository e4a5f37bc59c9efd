"""The metrics of a server, for Prometheus."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from kling_mcp.hosting.logs import answered, tool_named
from kling_mcp.version import __version__

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from prometheus_client.core import Metric

__all__ = ["Metrics"]

CALL_S = (0.01, 0.05, 0.1, 0.5, 1, 5, 10, 20, 50)
PROVIDER_S = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class Metrics:
    """The metrics of one server. No label names a person, a task or a text."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._ledger = _LedgerCounts()
        self._registry.register(self._ledger)
        build = Info("kling_mcp_build", "The version that runs", registry=self._registry)
        build.info({"version": __version__})
        self._calls = Counter(
            "kling_mcp_calls",
            "Tool calls by tool and outcome (ok, or the kind of the error)",
            ["tool", "outcome"],
            registry=self._registry,
        )
        self._lasted = Histogram(
            "kling_mcp_call_seconds",
            "How long tool calls last",
            ["tool"],
            buckets=CALL_S,
            registry=self._registry,
        )
        self._under_way = Gauge(
            "kling_mcp_requests_under_way",
            "Requests of the protocol that are being answered, streams included",
            registry=self._registry,
        )
        self._provider = Histogram(
            "kling_mcp_provider_seconds",
            "How long providers take to answer, by method and outcome (HTTP status, or broken)",
            ["provider", "method", "outcome"],
            buckets=PROVIDER_S,
            registry=self._registry,
        )

    async def count(
        self, ctx: ServerRequestContext[Any, Any], call_next: CallNext
    ) -> HandlerResult:
        """A middleware: count a request while it is open, and a tool call when it ends."""
        with self._under_way.track_inprogress():
            if ctx.method != "tools/call":
                return await call_next(ctx)
            tool = tool_named(ctx.params)
            with self._lasted.labels(tool).time():
                return await answered(
                    ctx, call_next, lambda ending: self._calls.labels(tool, ending.outcome).inc()
                )

    def asked(self, provider: str, method: str, outcome: str, seconds: float) -> None:
        """Count one request to a provider; `outcome` is its HTTP status, or `broken`."""
        self._provider.labels(provider, method, outcome).observe(seconds)

    def page(self, ledger: Sequence[Mapping[str, Any]]) -> tuple[bytes, str]:
        """The text for Prometheus and its content type; `ledger` is from `Ledger.counts`."""
        self._ledger.rows = ledger
        return generate_latest(self._registry), CONTENT_TYPE_LATEST


class _LedgerCounts:
    """Counts of the ledger's rows. Servers that share a ledger report the same."""

    def __init__(self) -> None:
        self.rows: Sequence[Mapping[str, Any]] = ()

    def collect(self) -> Iterable[Metric]:
        tasks = GaugeMetricFamily(
            "kling_mcp_tasks",
            "Tasks in the ledger by provider and status",
            labels=["provider", "status"],
        )
        units = GaugeMetricFamily(
            "kling_mcp_units",
            "Units that these tasks cost, or are estimated to cost",
            labels=["provider", "status"],
        )
        for row in self.rows:
            labels = [row["provider"], row["status"]]
            tasks.add_metric(labels, row["tasks"])
            units.add_metric(labels, row["units"])
        return (tasks, units)
