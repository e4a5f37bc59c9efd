"""Why a connection failed and what to do about it, from the errors below the HTTP client's own."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator

__all__ = ["connection_fault"]

_CERTIFICATE = (
    "In a company network its certificate may be missing here: set SSL_CERT_FILE to the company's "
    "certificates (PEM), or add them to the system's store."
)


def connection_fault(error: BaseException) -> tuple[str, str] | None:
    """What happened, to come after the server's name, and advice; None when it cannot be told."""
    for cause in _causes(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            why = _reason(cause, "verify_message")
            return f"shows a certificate that is not trusted ({why})", _CERTIFICATE
        if isinstance(cause, ssl.SSLError):
            return (
                f"cannot be reached: TLS failed ({_reason(cause, 'reason')})",
                "Check that the base URL begins with https only where the server speaks TLS.",
            )
        if isinstance(cause, socket.gaierror):
            return (
                "cannot be reached: no such name is known",
                "Check the network, and the base URL (setting {base_url}).",
            )
    return None


def _reason(error: ssl.SSLError, attribute: str) -> str:
    """OpenSSL's words, which only errors that it made itself have."""
    return str(getattr(error, attribute, None) or "no reason given")


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__
