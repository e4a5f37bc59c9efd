"""Tokens for small teams: shown once, stored as hashes in a file."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import stat
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from kling_mcp.principal import METRICS, READ, SPEND
from kling_tools.errors import NotConfigured

__all__ = ["PREFIX", "Token", "TokenFile", "new_token"]

PREFIX = "kmcp_"
"""Every token begins with this, so that people and secret scanners recognize it."""

EXPIRES = "expires="
HEAD = "# Tokens of kling-mcp: name, SHA-256 of the token, scopes, expires=YYYY-MM-DD.\n"


@dataclass(frozen=True, slots=True)
class Token:
    """One line of the file: the owner's name, the token's SHA-256 in hex, its scopes, and the last
    day on which it is valid (None: no end)."""

    name: str
    sha256: str
    scopes: tuple[str, ...]
    expires: date | None = None

    def line(self) -> str:
        """The text of the line."""
        last = [f"{EXPIRES}{self.expires.isoformat()}"] if self.expires else []
        return " ".join([self.name, self.sha256, *self.scopes, *last])


def new_token(name: str, scopes: Sequence[str], expires: date | None = None) -> tuple[str, Token]:
    """A new token and its line. It has 256 random bits, so a plain hash is enough."""
    text = PREFIX + secrets.token_urlsafe(32)
    return text, Token(name, _sha256(text), tuple(scopes), expires)


class TokenFile:
    """The file of tokens, read again when it changes. Every method raises NotConfigured when the
    file cannot be used."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, int, int] | None = None
        self._tokens: list[Token] = []

    def all(self) -> list[Token]:
        """Every token, in the order of the file; none while there is no file yet."""
        try:
            return self._current()
        except NotConfigured as error:
            if isinstance(error.__cause__, FileNotFoundError):
                return []
            raise

    def told(self) -> list[Token]:
        """Every token of a file that says something. One that is away or has no byte says nothing
        of anybody's token: it cannot be used."""
        tokens = self._current()
        if self._seen and not self._seen[2]:
            raise self._unusable("it is empty")
        return tokens

    def _current(self) -> list[Token]:
        try:
            found = self._path.stat()
        except OSError as error:
            raise self._unusable(error.strerror or "it cannot be read") from error
        if os.name == "posix" and found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise self._unusable("other users may write to it")
        version = (found.st_ino, found.st_mtime_ns, found.st_size)
        if version != self._seen:
            self._tokens = self._read()
            self._seen = version
        return self._tokens

    def of(self, text: str) -> Token | None:
        """The line of a token that is valid today; None for any other."""
        return self.with_hash(_sha256(text))

    def with_hash(self, digest: str) -> Token | None:
        """The line of the token with this SHA-256 (hex), if it is valid today; as `told`."""
        today = date.fromtimestamp(time.time())
        found = None
        for token in self.told():
            if hmac.compare_digest(token.sha256, digest):
                found = token
        return found if found and (found.expires is None or today <= found.expires) else None

    def write(self, tokens: Sequence[Token]) -> None:
        """Replace the file's content by these tokens; only the file's owner may read it."""
        part = self._path.with_name(f"{self._path.name}.{secrets.token_hex(4)}.part")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            new = os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
            with os.fdopen(new, "w", encoding="utf-8") as file:
                file.write(HEAD + "".join(f"{token.line()}\n" for token in tokens))
            part.replace(self._path)
        except OSError as error:
            raise self._unusable(error.strerror or "it cannot be written") from error

    def _read(self) -> list[Token]:
        try:
            lines = self._path.read_text(encoding="utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise self._unusable(getattr(error, "strerror", None) or "is no text") from error
        return [
            self._token(number, line)
            for number, line in enumerate(lines, 1)
            if line.strip() and not line.lstrip().startswith("#")
        ]

    def _token(self, number: int, line: str) -> Token:
        name, *words = line.split()
        digest = words[0].lower() if words else ""
        if len(digest) != 64 or set(digest) - set("0123456789abcdef"):
            raise self._unusable(f"line {number} has no SHA-256 after the name")
        dates = [word.removeprefix(EXPIRES) for word in words[1:] if word.startswith(EXPIRES)]
        scopes = tuple(word for word in words[1:] if not word.startswith(EXPIRES))
        if set(scopes) - {READ, SPEND, METRICS}:
            raise self._unusable(f"line {number} has an unknown scope")
        if len(dates) > 1:
            raise self._unusable(f"line {number} has two dates")
        try:
            expires = date.fromisoformat(dates[0]) if dates else None
        except ValueError:
            raise self._unusable(f"line {number} has no date after expires=") from None
        return Token(name, digest, scopes, expires)

    def _unusable(self, why: str) -> NotConfigured:
        return NotConfigured(
            f"The token file {self._path} cannot be used: {why}.",
            advice="kling-mcp tokens writes it; KLING_MCP_TOKENS names it.",
        )


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
