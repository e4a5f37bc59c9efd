"""Whom the sandbox lets in: an API key, or a JWT signed with the AccessKey/SecretKey pair."""

from __future__ import annotations

import hmac
from typing import Any

from kling_sandbox.capability import MODELS, Product
from kling_sandbox.config import SandboxConfig
from kling_sandbox.dialects import Dialect
from kling_sandbox.refusals import refused

__all__ = ["check_authorization", "check_key", "handed_on"]


def check_authorization(header: str | None, config: SandboxConfig) -> None:
    """Let the request through or raise the `Refusal` 1001 to 1004 (Kling's API pages)."""
    credential = _credential(header)
    if not _is_key(credential, config):
        _check_claims(_claims_of(credential, config), config)


def check_key(header: str | None, config: SandboxConfig) -> None:
    """Let the request through or raise the `Refusal` 1001 or 1002: gateways take no JWT.

    A key may carry the `sk-` that new-api writes before its keys.
    """
    credential = _credential(header)
    if not _is_key(credential, config) and not _is_key(credential.removeprefix("sk-"), config):
        raise refused("authorization_invalid")


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
    """The claims of a token whose signature holds; times are judged by the sandbox's clock."""
    import jwt

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


def handed_on(dialect: Dialect, product: Product, body: Any) -> Any:
    """The body that Kling is handed; raises `Refusal` for what the provider refuses itself.

    A body that is no object goes on as it is, for Kling to refuse.
    """
    if not isinstance(body, dict):
        return body
    filled = {
        name: value
        for name, value in dialect.fills.get(product, {}).items()
        if body.get(name) in (None, "")
    }
    kept = {name: value for name, value in body.items() if name not in dialect.drops}
    if dialect.needs_model:
        model = kept.get("model_name")
        if not isinstance(model, str) or not model:
            raise refused("model_missing")
        if model not in MODELS:
            raise refused("model_unserved", model=model)
    return kept | filled
