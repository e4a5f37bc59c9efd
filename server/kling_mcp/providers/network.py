"""Proxies, certificates, and the words for a failed connection.

`NO_PROXY` takes names with their subdomains, addresses, networks such as 10.0.0.0/8 or fd07::/64,
IPv6 addresses with or without brackets, each with or without a port, and `*`. httpx itself knows no
networks and breaks at brackets.

Certificates come from the file in SSL_CERT_FILE (or the folder in SSL_CERT_DIR), then from the
operating system's store (PyPI `truststore`), then from certifi where a Linux has no store at all.
"""

from __future__ import annotations

import os
import socket
import ssl
import sys
from collections.abc import Iterator
from ipaddress import ip_address, ip_network
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies, getproxies_environment, proxy_bypass

from kling_tools.errors import NotConfigured

__all__ = ["certificate_store", "connection_fault", "known_proxies", "proxy_of", "tls_context"]


PORTS = {"http": 80, "https": 443}


def proxy_of(url: str) -> str | None:
    """The URL of the proxy for a request to `url`; None for a direct connection."""
    parts = urlsplit(url)
    proxies = known_proxies()
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    if not proxy:
        return None
    try:
        port = parts.port or PORTS.get(parts.scheme)
    except ValueError:
        port = None
    return None if _is_excepted((parts.hostname or "").rstrip("."), port) else proxy


def known_proxies() -> dict[str, str]:
    """The proxies' URLs by the scheme of their requests: http, https, all."""
    found = getproxies()
    return {
        scheme: proxy if "://" in proxy else f"http://{proxy}"
        for scheme in ("http", "https", "all")
        if (proxy := found.get(scheme, "").strip())
    }


def _is_excepted(host: str, port: int | None) -> bool:
    environment = getproxies_environment()
    if not environment:
        return bool(proxy_bypass(host))
    entries = environment.get("no", "").split(",")
    return any(_matches(entry.strip().lower(), host.lower(), port) for entry in entries)


def _matches(entry: str, host: str, port: int | None) -> bool:
    entry = entry.partition("://")[2] or entry
    if entry in ("", "*"):
        return entry == "*"
    try:
        return ip_address(host.partition("%")[0]) in ip_network(
            _without_brackets(entry), strict=False
        )
    except ValueError:
        pass
    name, colon, only = entry.rpartition(":")
    if colon and only.isdigit() and name:
        return int(only) == port and _matches(name, host, port)
    name = entry.removeprefix("*").strip(".")
    return bool(name) and (host == name or host.endswith(f".{name}"))


def _without_brackets(entry: str) -> str:
    """`[::1]` and `[fd07::]/64` without their brackets."""
    return entry.replace("[", "", 1).replace("]", "", 1) if "]:" not in entry else entry


def certificate_store() -> str:
    """The store of certificates that is used, in words."""
    named = _named()
    if named is not None:
        variable, path = named
        return f"{variable} ({path})"
    if _system_has_none():
        return "the bundle of certifi (this system has no store of its own)"
    return "the operating system's store"


def tls_context() -> ssl.SSLContext:
    """A TLS context with that store; raises NotConfigured when the store cannot be read."""
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
    """Whether the system has no store, like a container without ca-certificates. macOS and Windows
    always have one."""
    if sys.platform in ("darwin", "win32"):
        return False
    paths = ssl.get_default_verify_paths()
    return not paths.cafile and not (paths.capath and any(Path(paths.capath).iterdir()))


_CERTIFICATE = (
    "In a company network its certificate may be missing here: set SSL_CERT_FILE to the company's "
    "certificates (PEM), or add them to the system's store."
)


def connection_fault(error: BaseException) -> tuple[str, str] | None:
    """A predicate for a sentence that begins with the server's name, and advice; None for an error
    that is neither of TLS nor of a name."""
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
    """OpenSSL's reason, which only its own errors have."""
    return str(getattr(error, attribute, None) or "no reason given")


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__
