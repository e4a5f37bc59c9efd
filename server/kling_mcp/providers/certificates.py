"""Which certificates a provider's TLS is judged by: the machine's own, so that a company's count.

A file that SSL_CERT_FILE (or a folder that SSL_CERT_DIR) names comes first, then the operating
system's store (PyPI `truststore`), and certifi's bundle where a Linux has no store at all.
"""

from __future__ import annotations

import os
import ssl
import sys
from pathlib import Path

from kling_tools.errors import NotConfigured

__all__ = ["certificate_store", "tls_context"]


def certificate_store() -> str:
    """Which one is used, in words."""
    named = _named()
    if named is not None:
        variable, path = named
        return f"{variable} ({path})"
    if _system_has_none():
        return "the bundle of certifi (this system has no store of its own)"
    return "the operating system's store"


def tls_context() -> ssl.SSLContext:
    """A context that judges servers by it; raises NotConfigured when it cannot be read."""
    named = _named()
    if named is not None:
        return _context_of(*named)
    if _system_has_none():
        import certifi

        return ssl.create_default_context(cafile=certifi.where())
    import truststore

    return truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def _context_of(variable: str, path: str) -> ssl.SSLContext:
    try:
        if variable == "SSL_CERT_FILE":
            return ssl.create_default_context(cafile=path)
        return ssl.create_default_context(capath=path)
    except (OSError, ssl.SSLError) as error:
        raise NotConfigured(
            f"{variable} names {path}, which cannot be used: {error}.",
            advice="It takes certificates in PEM form; unset it to use the system's own.",
        ) from error


def _named() -> tuple[str, str] | None:
    for variable in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
        path = os.environ.get(variable)
        if path:
            return variable, path
    return None


def _system_has_none() -> bool:
    """Containers without ca-certificates; macOS and Windows always have a store."""
    if sys.platform in ("darwin", "win32"):
        return False
    paths = ssl.get_default_verify_paths()
    return not paths.cafile and not (paths.capath and any(Path(paths.capath).iterdir()))
