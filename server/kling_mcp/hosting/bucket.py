"""One S3-compatible bucket, or the part of it below a prefix.

`boto3` (extra `s3`) is imported when the bucket is first needed. It finds the bucket's address and
credentials as AWS's own tools do: AWS_ENDPOINT_URL, AWS_REGION, AWS_ACCESS_KEY_ID, roles and so on.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

from kling_mcp.outputs.storage import media_type
from kling_tools.errors import KlingError, NotConfigured

__all__ = ["Bucket"]

_GONE = ("404", "NoSuchKey", "NotFound")
_TAKEN = ("412", "PreconditionFailed", "ConditionalRequestConflict")


class Bucket:
    """`url` is s3://bucket/prefix. Every method blocks and may be called from any thread. Each
    raises KlingError when the bucket cannot be used; the message names no key and no address."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._name = parts.netloc
        self._prefix = parts.path.strip("/")
        self._lock = threading.Lock()
        self._opened: Any = None

    def address(self, key: str) -> str:
        """The s3:// address of a key, as a ledger row stores it."""
        return f"s3://{self._name}/{self._full(key)}"

    def key_of(self, address: str) -> str | None:
        """The key of an s3:// address; None for an address outside this bucket and prefix."""
        start = self.address("")
        return address.removeprefix(start) if address.startswith(start) else None

    def put(self, key: str, file: Path, content_type: str, metadata: Mapping[str, str]) -> None:
        """Upload a file, and replace what the key held. Raises KlingError when the bucket then
        reports another size."""
        full, size = self._full(key), file.stat().st_size
        extra = {"ContentType": content_type, "Metadata": dict(metadata)}
        with self._faults():
            self._client.upload_file(str(file), self._name, full, ExtraArgs=extra)
            arrived = self._client.head_object(Bucket=self._name, Key=full)["ContentLength"]
        if arrived != size:
            raise KlingError(f"The storage holds {arrived} bytes of {size}.")

    def put_new(self, key: str, file: IO[bytes], content_type: str) -> bool:
        """Upload an open file unless the key is taken. Returns False when it is taken."""
        try:
            self._client.put_object(
                Bucket=self._name,
                Key=self._full(key),
                Body=file,
                ContentType=content_type,
                IfNoneMatch="*",
            )
        except Exception as error:
            if _code(error) in _TAKEN:
                return False
            raise _unusable(error) from error
        return True

    def fetch(self, key: str, target: Path) -> bool:
        """Download to a file, which appears only once it is whole. Returns False when the key does
        not exist."""
        part = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
        try:
            with part.open("wb") as file:
                if not self.read(key, file):
                    return False
            part.replace(target)
            return True
        except OSError as error:
            raise KlingError(f"The video cannot be read here: {error.strerror}.") from error
        finally:
            part.unlink(missing_ok=True)

    def read(self, key: str, file: IO[bytes]) -> bool:
        """Download into an open file. Returns False when the key does not exist."""
        try:
            self._client.download_fileobj(self._name, self._full(key), file)
        except Exception as error:
            if _code(error) in _GONE:
                return False
            raise _unusable(error) from error
        return True

    def listed(self, prefix: str, most: int) -> list[tuple[str, float, int]]:
        """At most `most` keys that begin with `prefix`, each with the time it was written (seconds
        since the epoch) and its bytes."""
        with self._faults():
            found = self._client.list_objects_v2(
                Bucket=self._name, Prefix=self._full(prefix), MaxKeys=most
            )
        skipped = len(self._full(""))
        return [
            (item["Key"][skipped:], item["LastModified"].timestamp(), item["Size"])
            for item in found.get("Contents", ())
        ]

    def written_at(self, key: str) -> float | None:
        """When the key was written (seconds since the epoch); None when it does not exist."""
        try:
            found = self._client.head_object(Bucket=self._name, Key=self._full(key))
        except Exception as error:
            if _code(error) in _GONE:
                return None
            raise _unusable(error) from error
        return float(found["LastModified"].timestamp())

    def remove(self, key: str) -> None:
        """Delete the key. A missing key is no error."""
        with self._faults():
            self._client.delete_object(Bucket=self._name, Key=self._full(key))

    def link(self, key: str, name: str, lasts_s: int, *, head: bool = False) -> str:
        """A presigned S3 address, valid for `lasts_s` seconds. A browser saves the file as
        `name`."""
        asked = {"Bucket": self._name, "Key": self._full(key)}
        if not head:
            ascii_name = name.encode("ascii", "replace").decode().replace("?", "_")
            asked |= {
                "ResponseContentDisposition": f'inline; filename="{ascii_name}"',
                "ResponseContentType": media_type(key),
                "ResponseCacheControl": "private",
            }
        with self._faults():
            url = self._client.generate_presigned_url(
                "head_object" if head else "get_object", Params=asked, ExpiresIn=lasts_s
            )
        return str(url)

    def _full(self, key: str) -> str:
        return f"{self._prefix}/{key}" if self._prefix else key

    @property
    def _client(self) -> Any:
        with self._lock:
            if self._opened is None:
                self._opened = _open()
            return self._opened

    @contextmanager
    def _faults(self) -> Iterator[None]:
        try:
            yield
        except KlingError:
            raise
        except Exception as error:
            raise _unusable(error) from error


def _open() -> Any:
    """A client of S3. Raises NotConfigured without the library."""
    try:
        import boto3
        from botocore.config import Config
    except ImportError as error:
        raise NotConfigured(
            "KLING_MCP_STORAGE requires boto3, which is not installed.",
            advice="Install kling-mcp[s3].",
        ) from error
    config = Config(
        connect_timeout=10,
        read_timeout=60,
        retries={"mode": "standard", "max_attempts": 3},
        signature_version="s3v4",
        request_checksum_calculation="when_required",  # many S3-compatible stores know no other
        response_checksum_validation="when_required",
    )
    return boto3.session.Session().client("s3", config=config)


def _code(error: Exception) -> str:
    """S3's error code; empty for an error of another origin. boto3 wraps errors of an upload, so
    the error's context is read too."""
    for each in (error, error.__context__):
        with suppress(AttributeError, KeyError, TypeError):
            return str(each.response["Error"]["Code"])  # type: ignore[union-attr]
    return ""


def _unusable(error: Exception) -> KlingError:
    if isinstance(error, KlingError):
        return error
    why = _code(error) or type(error).__name__
    return KlingError(
        f"This server's storage does not work now ({why}).",
        charged="no",
        advice="Try again later, or tell whoever runs the server.",
    )
