"""One tree of errors; each class says who reads it.

    KlingError               the agent: what is wrong, whether money was spent, what to do next
    ├── InvalidRequest       the agent: rules broken, all at once; nothing was sent
    ├── ImageRejected        the agent: pictures that Kling would refuse; nothing was sent
    ├── SpendCapReached      the agent and the person who set the cap; nothing was sent
    ├── NotAllowed           the person: their login lacks a right
    ├── NotConfigured        the person who runs the server: a key or a setting is missing
    ├── UnsafePath           the agent: a path outside the folders that it may use
    ├── UnsafeUrl            the agent: a URL that must not be fetched
    ├── SaveFailed           the agent: the video is made, the file could not be written
    ├── TaskFailed           the agent: the job failed, the call did not
    └── ProviderError        the agent: the provider's answer, translated
        ├── AuthFailed       the person: the key or the clock is wrong
        ├── PaymentRequired  the person: the account has to be topped up
        ├── RateLimited      the agent: later
        ├── ConcurrencyFull  the agent: when a running task has ended
        ├── ContentRefused   the agent: another picture or another prompt
        ├── RequestRefused   the agent: the provider does not accept the request as it is
        │   └── ModelRetired the agent: the provider has ended this model; another one is named
        ├── DuplicateTask    the machine: the external_task_id has been used before
        ├── TaskNotFound     the agent: wrong id, wrong provider, or older than 30 days
        └── ProviderDown     the agent: unreachable, broken, or silent

The classes do not import the SDK; `kling_tools.tools.tool` turns an error into an answer with
`isError`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

from kling_tools.faults import Fault, Variant, sentences, shortened
from kling_tools.quoting import quote_provider, token

__all__ = [
    "AuthFailed",
    "Charged",
    "ConcurrencyFull",
    "ContentRefused",
    "DuplicateTask",
    "ImageRejected",
    "InvalidRequest",
    "KlingError",
    "ModelRetired",
    "NotAllowed",
    "NotConfigured",
    "PaymentRequired",
    "ProviderDown",
    "ProviderError",
    "RateLimited",
    "RequestRefused",
    "SaveFailed",
    "SpendCapReached",
    "TaskFailed",
    "TaskNotFound",
    "UnsafePath",
    "UnsafeUrl",
    "quote_provider",
]

Charged = Literal["no", "yes", "unknown"]
"""Whether the call spent money: `unknown` when a create was sent and its answer was lost."""

_MONEY: dict[Charged, str] = {
    "no": "This call cost nothing.",
    "yes": "This was charged.",
    "unknown": "Whether it was charged is unknown.",
}
_MONEY_IN_ADVICE = ("It cost nothing.", "It was charged")
"""Advice that begins so says itself what the task cost, so the sentence of the call is left out."""


def _quote(provider_says: str) -> str:
    return f'The provider says: "{provider_says}".' if provider_says else ""


class KlingError(Exception):
    """Base of all errors that an agent reads.

    `message` says what is wrong, `charged` whether money was spent, `advice` what to do now,
    `would_pass` the nearest request that is not refused. `anew` is a sentence about the call that
    makes a lost video once more.
    """

    kind: ClassVar[str] = "kling_error"

    def __init__(
        self,
        message: str,
        *,
        charged: Charged = "no",
        advice: str = "",
        would_pass: Variant | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.charged: Charged = charged
        self.advice = advice
        self.would_pass = would_pass
        self.anew = ""

    def __str__(self) -> str:
        """One short paragraph: what is wrong, the money, what to do next."""
        money = "" if self.advice.startswith(_MONEY_IN_ADVICE) else _MONEY[self.charged]
        passes = str(self.would_pass or "")
        parts = (self.message, self._quoted(), money, passes, self.next)
        return " ".join(part for part in parts if part)

    @property
    def next(self) -> str:
        """All that can be done now."""
        return f"{self.advice} {self.anew}".strip()

    def reason(self) -> str:
        """The same without what this call cost, unless that is unknown, and without how a video is
        made once more: for an answer about more than this call."""
        text = str(self).removesuffix(f" {self.anew}")
        return text if self.charged == "unknown" else text.replace(f" {_MONEY[self.charged]}", "")

    def _quoted(self) -> str:
        """The provider's own words as a sentence; empty when it gave none."""
        return ""

    def facts(self) -> dict[str, Any]:
        """The content of `str(self)`, as fields of the structured answer."""
        facts: dict[str, Any] = {
            "error": self.kind,
            "message": self.message,
            "charged": self.charged,
        }
        if self.would_pass:
            facts["would_pass"] = self.would_pass.model_dump(exclude_defaults=True)
        if self.next:
            facts["next"] = self.next
        return facts


class _Refused(KlingError):
    """A request refused before anything was sent, with every fault that was found."""

    def __init__(
        self, faults: Sequence[Fault], *, advice: str = "", would_pass: Variant | None = None
    ) -> None:
        super().__init__(sentences(faults), advice=advice, would_pass=would_pass)
        self.faults = tuple(faults)

    def __str__(self) -> str:
        head = "Refused, nothing was sent or charged."
        parts = (head, str(self.would_pass or ""), self.message, self.advice)
        return " ".join(part for part in parts if part)

    def facts(self) -> dict[str, Any]:
        facts = super().facts()
        facts["message"] = "Refused before anything was sent."
        facts["faults"] = [fault.facts() for fault in shortened(self.faults)]
        return facts


class InvalidRequest(_Refused):
    """For the agent: the request breaks rules; `faults` names every one of them."""

    kind = "invalid_request"


class ImageRejected(_Refused):
    """For the agent: pictures that Kling would refuse; `faults` names every one of them."""

    kind = "image_rejected"


class SpendCapReached(KlingError):
    """For the agent and whoever set the cap: the estimate is above it, or unknown."""

    kind = "spend_cap_reached"

    def __init__(self, message: str, *, advice: str = "", way: str = "") -> None:
        super().__init__(message, advice=advice)
        self.way = way

    def beside(self, passes: Variant | None) -> str:
        """With what the very same request passes beside another one: an argument of the call, or a
        changed setting where nothing else passes. Empty when nothing helps."""
        return "" if passes and not self.way.startswith("with ") else self.way


class NotAllowed(KlingError):
    """For the person: their login may not do this; nothing was sent."""

    kind = "not_allowed"


class NotConfigured(KlingError):
    """For whoever runs the server: a key or a setting is missing or contradicts another."""

    kind = "not_configured"


class UnsafePath(KlingError):
    """For the agent: the path lies outside the folders that the server may use."""

    kind = "unsafe_path"


class UnsafeUrl(KlingError):
    """For the agent: the server does not fetch URLs of this kind."""

    kind = "unsafe_url"


class SaveFailed(KlingError):
    """For the agent: the video is made; the file could not be written here. `of_disk` says that the
    disk is the reason, `of_file` that what the provider sent is no whole file."""

    kind = "save_failed"

    def __init__(
        self, message: str, *, advice: str = "", of_disk: bool = False, of_file: bool = False
    ) -> None:
        super().__init__(message, advice=advice)
        self.of_disk = of_disk
        self.of_file = of_file


class TaskFailed(KlingError):
    """For the agent: the job itself failed at the provider; the call worked.

    `provider_says` holds the provider's own words; `message` is ours.
    """

    kind = "task_failed"

    def __init__(
        self,
        message: str,
        *,
        task_id: str,
        provider_says: str = "",
        charged: Charged = "no",
        advice: str = "",
    ) -> None:
        super().__init__(message, charged=charged, advice=advice)
        self.task_id = task_id
        self.provider_says = quote_provider(provider_says)

    def _quoted(self) -> str:
        return _quote(self.provider_says)

    def facts(self) -> dict[str, Any]:
        facts = super().facts() | {"task_id": self.task_id}
        if self.provider_says:
            facts["provider_says"] = self.provider_says
        return facts


class ProviderError(KlingError):
    """For the agent: what the provider answered, translated.

    `code` is the provider's business code (Kling's integers as text, a gateway's words),
    `retryable` whether the same *read* may be tried again, `retry_after_s` seconds the provider
    asked to wait, `provider_says` its own words, made safe by `kling_tools.quoting`. `of_model`
    says that only the model is refused, `of_file` that the URL of a result answers, and not the
    provider's API.
    """

    kind = "provider_error"

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        http_status: int | None = None,
        request_id: str | None = None,
        retryable: bool = False,
        retry_after_s: float | None = None,
        provider: str = "",
        provider_says: str = "",
        charged: Charged = "no",
        advice: str = "",
        of_model: bool = False,
        of_file: bool = False,
    ) -> None:
        super().__init__(message, charged=charged, advice=advice)
        self.of_model = of_model
        self.of_file = of_file
        self.code = token(code) if code else None
        self.http_status = http_status
        self.request_id = token(request_id) if request_id else None
        self.retryable = retryable
        self.retry_after_s = retry_after_s
        self.provider = provider
        self.provider_says = quote_provider(provider_says)

    def _quoted(self) -> str:
        return _quote(self.provider_says)

    def facts(self) -> dict[str, Any]:
        extra = {
            "provider": self.provider,
            "code": self.code,
            "http_status": self.http_status,
            "request_id": self.request_id,
            "retryable": self.retryable,
            "retry_after_s": self.retry_after_s,
            "provider_says": self.provider_says,
        }
        return super().facts() | {k: v for k, v in extra.items() if v not in (None, "")}


class AuthFailed(ProviderError):
    """For whoever runs the server: the key, its rights or the clock is wrong."""

    kind = "auth_failed"


class PaymentRequired(ProviderError):
    """For whoever pays: no units are left or the account is in arrears; waiting does not help."""

    kind = "payment_required"


class RateLimited(ProviderError):
    """For the agent: too many requests; the same call works later."""

    kind = "rate_limited"


class ConcurrencyFull(ProviderError):
    """For the agent: as many tasks run as the account allows; one must end first."""

    kind = "concurrency_full"


class ContentRefused(ProviderError):
    """For the agent: the provider's policy refuses the prompt or the picture."""

    kind = "content_refused"


class RequestRefused(ProviderError):
    """For the agent: the provider does not accept the request; another value may work."""

    kind = "request_refused"


class ModelRetired(RequestRefused):
    """For the agent: the provider makes no video with this model any more; none was made, and
    nothing was charged."""

    kind = "model_retired"


class DuplicateTask(ProviderError):
    """For the machine: a task with this external_task_id exists; no second one was made."""

    kind = "duplicate_task"


class TaskNotFound(ProviderError):
    """For the agent: that provider has no such task (it clears results after 30 days)."""

    kind = "task_not_found"


class ProviderDown(ProviderError):
    """For the agent: the provider is unreachable, broken, in maintenance, or did not answer."""

    kind = "provider_down"
