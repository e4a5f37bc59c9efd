"""Checks the Authorization header of a request: a key, or a JWT of a pair of keys."""

from __future__ import annotations

import hmac
from typing import Any

from kling_sandbox.answers.refusals import refused
from kling_sandbox.config import SandboxConfig

__all__ = ["check_authorization", "check_key"]


def check_authorization(header: str | None, config: SandboxConfig) -> None:
    """Check a key or a JWT. Raises the `Refusal` 1001 to 1004 (Kling's API pages)."""
    credential = _credential(header)
    if not _is_key(credential, config):
        _check_claims(_claims_of(credential, config), config)


def check_key(
    header: str | None, config: SandboxConfig, otherwise: str = "authorization_invalid"
) -> None:
    """Check a key. Raises the `Refusal` 1001, or the one named `otherwise`, for a JWT too.

    A key may begin with the `sk-` that new-api writes before its keys.
    """
    credential = _credential(header)
    if not _is_key(credential, config) and not _is_key(credential.removeprefix("sk-"), config):
        raise refused(otherwise)


def _credential(header: str | None) -> str:
    if not header or not header.strip():
        raise refused("authorization_empty")
    scheme, _, credential = header.strip().partition(" ")
    credential = credential.strip()
    if scheme.lower() != "bearer" or not credential:
        raise refused("authorization_invalid")
    return credential


def _is_key(credential: str, config: SandboxConfig) -> bool:
    return any(hmac.compare_digest(credential.encode(), key.encode()) for key in config.api_keys)


def _claims_of(token: str, config: SandboxConfig) -> dict[str, Any]:
    """The claims of a token with a valid signature. Its times are checked elsewhere, by the
    sandbox's clock."""
    import jwt

    if token.count(".") != 2:
        raise refused("token_parts")

    try:
        claims: dict[str, Any] = jwt.decode(
            token,
            config.secret_key,
            algorithms=["HS256"],
            options={
                "verify_exp": False,
                "verify_nbf": False,
                "verify_iat": False,
                "verify_aud": False,
            },
        )
    except jwt.PyJWTError:
        raise refused("authorization_invalid") from None
    return claims


def _check_claims(claims: dict[str, Any], config: SandboxConfig) -> None:
    if claims.get("iss") != config.access_key:
        raise refused("access_key_unknown")
    now = config.clock()
    if _time(claims.get("nbf", 0)) > now:
        raise refused("authorization_early")
    if _time(claims.get("exp")) <= now:
        raise refused("authorization_expired")


def _time(claim: object) -> float:
    if isinstance(claim, bool) or not isinstance(claim, int | float):
        raise refused("authorization_invalid")
    return float(claim)
