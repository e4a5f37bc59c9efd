"""A PostgreSQL server of its own for tests, on loopback, gone when they end."""

import os
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

__all__ = ["Postgres", "postgres_server"]

FAST = ("fsync=off", "full_page_writes=off", "synchronous_commit=off", "max_connections=60")


@dataclass(frozen=True, slots=True)
class Postgres:
    """A running server; `folder` is its data, `programs` where its programs are."""

    port: int
    folder: Path
    programs: Path

    @property
    def url(self) -> str:
        """Where it is, with a password that everybody may have."""
        return f"postgresql://kling:secret@127.0.0.1:{self.port}/postgres"

    def new_schema(self) -> str:
        """The URL of a ledger of one's own."""
        schema = f"ledger_{uuid.uuid4().hex[:12]}"
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(schema)))
        return f"{self.url}?options=-csearch_path%3D{schema}"

    def restart(self) -> None:
        """Break all connections, as an upgrade does."""
        self.stop()
        self.start()

    def start(self) -> None:
        """Raises CalledProcessError when it does not."""
        options = " ".join(f"-c {option}" for option in FAST)
        where = f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories=''"
        log = str(self.folder.parent / "log")
        self.run("pg_ctl", "start", "-w", "-l", log, "-o", f"{where} {options}")

    def stop(self) -> None:
        """Ends the server and whoever is connected."""
        self.run("pg_ctl", "stop", "-w", "-m", "fast")

    def run(self, program: str, *arguments: str) -> None:
        """Run one of its programs as a user that it accepts: it refuses to be root."""
        command = [str(self.programs / program), "-D", str(self.folder), *arguments]
        if _is_root():
            command = ["setpriv", "--reuid", user(), "--regid", group(), "--clear-groups", *command]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        subprocess.run(command, check=True, timeout=60, cwd="/", **quiet)  # type: ignore[call-overload]


def _is_root() -> bool:
    return hasattr(os, "geteuid") and os.geteuid() == 0


def user() -> str:
    return next(name for name in ("postgres", "nobody") if known(name))


def group() -> str:
    import pwd  # Windows has no such module

    return str(pwd.getpwnam(user()).pw_gid)


def known(name: str) -> bool:
    import pwd

    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True


@contextmanager
def postgres_server(port: int) -> Iterator[Postgres]:
    """A new server at this port; the test is skipped where PostgreSQL is not installed."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    programs = found[-1] if found else shutil.which("initdb")
    if programs is None:
        pytest.skip("there is no PostgreSQL")
    with tempfile.TemporaryDirectory(prefix="kling-mcp-postgres-") as folder:
        place = Path(folder)
        server = Postgres(port, place / "data", Path(programs).parent)
        if _is_root():
            shutil.chown(place, user(), int(group()))
        server.run("initdb", "-U", "kling", "--auth=trust", "-E", "UTF8", "--locale=C", "-N")
        server.start()
        try:
            yield server
        finally:
            server.stop()
