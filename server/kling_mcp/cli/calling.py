"""One command that calls a tool: called, waited for, saved, and told on the terminal.

It is a client of the server in this process, on the same ledger as every other one: what a chat
began is found here, and the other way round.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

import anyio
from mcp import Client
from mcp.client import ClientRequestContext
from mcp_types import (
    CallToolResult,
    ElicitRequestParams,
    ElicitResult,
    Implementation,
)

from kling_mcp.cli.exit_codes import (
    DONE,
    FAILED,
    INTERRUPTED,
    PROVIDER,
    RUNNING,
    code_of_error,
    code_of_receipt,
    code_of_task,
    tasks_of,
)
from kling_mcp.cli.given_arguments import given_arguments, named_files
from kling_mcp.cli.output_file import OutputFile
from kling_mcp.cli.shell_words import command_with, in_shell
from kling_mcp.cli.terminal import StatusLine, abandoned, asked, stopped_by_ctrl_c
from kling_mcp.cli.tool_commands import ToolCommand
from kling_mcp.protocol.server import build_server
from kling_mcp.settings.settings import Settings, load_settings
from kling_mcp.version import __version__
from kling_tools.errors import KlingError, NotConfigured
from kling_tools.products import FILM_IDS
from kling_tools.requests.drafts import read_draft
from kling_tools.requests.films import FilmArguments
from kling_tools.tools.tool import SPENDING

__all__ = ["run_from"]

WAIT_S = 900.0
"""Seconds of one call that waits; it is made again until the tasks have ended."""

STILL_SENT = "A request on its way is answered first; Ctrl-C again ends at once."

ADVICE = frozenset({"message", "next", "note"})
"""The fields of answers that say what to do."""

OWN_WORDS = frozenset(
    {
        *("clips", "file", "folder", "more", "name", "path", "prompt", "saved", "shots"),
        *("shown_in", "sidecar", "text"),
    }
)
"""The fields of answers that hold paths, prompts and names."""

UNANSWERED = "Nobody can be asked here, so nothing was sent: add --yes to agree."


def run_from(parsed: argparse.Namespace) -> int:
    """Call the command's tool and print the answer. Returns one of `EXIT_CODES`. Raises
    BrokenPipeError when nobody reads the output any more."""
    call = _Calling(parsed.tool_command, parsed)
    try:
        call.prepare()
        anyio.run(call.run)
    except KeyboardInterrupt:
        call.interrupted()
    except KlingError as error:
        call.refused(error)
    except BaseExceptionGroup as group:
        if group.subgroup(BrokenPipeError):
            raise BrokenPipeError from group
        if not (found := group.subgroup(KlingError)):
            raise
        call.refused(_first(found))
    return call.end()


def _first(error: BaseException) -> KlingError:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    assert isinstance(error, KlingError)
    return error


class _Calling:
    """One run of a command: what is known of its task, what is to be printed, and the exit code."""

    def __init__(self, command: ToolCommand, parsed: argparse.Namespace) -> None:
        self._command = command
        self._parsed = parsed
        self._words: Sequence[str] = parsed.words
        self._facts: dict[str, Any] = {}
        self._code = DONE
        self._unwritten: OSError | None = None
        self._unanswered = ""
        self._saves = True
        self._is_sending = False
        self._scope: anyio.CancelScope
        self._status = StatusLine(sys.stderr)
        self._output = OutputFile(getattr(parsed, "output", None))
        self._given: dict[str, Any] = {}
        spends = self._command.waits or SPENDING.intersection(self._command.tools)
        self._goes_on = shlex.join(["kling-mcp", *self._words]) if spends else ""

    def prepare(self) -> None:
        """Read what was given. Raises KlingError and KeyboardInterrupt."""
        given = self._given = given_arguments(self._command, self._parsed)
        self._settings = self._settings_for(given)
        self._saves = self._settings.save
        self._tool = self._command.tool_for(given)
        self._output.check(self._tool, several=_makes_several(self._tool, given))
        if self._settings.read_only and self._tool in SPENDING:
            raise NotConfigured(
                "KLING_MCP_READ_ONLY is on, so nothing is made or withdrawn.",
                advice="Turn it off for this command: KLING_MCP_READ_ONLY=false.",
            )

    async def run(self) -> None:
        """Call the tool, and what comes after it. Raises KlingError."""
        with stopped_by_ctrl_c(self._stop), anyio.CancelScope() as self._scope:
            client = Client(
                build_server(self._settings),
                client_info=Implementation(name="kling-mcp-shell", version=__version__),
                elicitation_callback=self._ask,
            )
            async with client:
                with anyio.CancelScope() as self._scope:
                    await self._go(client, self._tool, self._given)

    async def _go(self, client: Client, tool: str, given: dict[str, Any]) -> None:
        """The call, then the wait and the file."""
        if self._command.waits:
            await self._wait(client, given)
            return
        if self._command.makes and self._output.is_taken:
            there = await client.call_tool("kling_get_task", {"task_id": self._output.path})
            if there.is_error:
                raise self._output.taken()
        if tool == "kling_save_video" and self._output.path:
            given["path"] = self._output.path
        self._status.show("Asking")
        self._is_sending = tool in SPENDING
        answer = await client.call_tool(tool, given)
        for fault in (answer.structured_content or {}).get("faults", ()):
            if fault["rule"] == "tool_of_task" and fault["use"] in self._command.tools:
                answer = await client.call_tool(fault["use"], given)
        self._is_sending = False
        self._take(answer)
        self._print(_text_of(answer).replace(self._needless(), "").rstrip())
        if answer.is_error:
            return
        if tool in SPENDING:
            self._code = code_of_receipt(self._facts)
        if self._command.makes and self._facts.get("task_id") and not self._facts.get("dry_run"):
            await self._made(client, self._facts["task_id"])
        elif tool == "kling_look" and (shown := self._output.write_pictures(answer)):
            self._facts["shown_in"] = shown
            self._print(f"Shown in {' and '.join(shown)}.")

    async def _made(self, client: Client, task: str) -> None:
        """What follows a receipt."""
        self._goes_on = self._wait_line([task])
        if self._will_wait:
            await self._wait(client, {"task_ids": [task]})
        elif self._facts["status"] in ("submitted", "processing", "succeed"):
            self._code = DONE

    def _needless(self) -> str:
        """The advice to wait, before a wait."""
        if not self._will_wait or self._facts.keys() & {"error", "repeated"}:
            return ""
        return str(self._facts.get("next", ""))

    @property
    def _will_wait(self) -> bool:
        if not self._command.makes or self._facts.get("dry_run"):
            return False
        return self._command.stays or bool(self._parsed.wait or self._output.path)

    def _wait_line(self, task_ids: Sequence[str]) -> str:
        """The command that goes on with these tasks."""
        more = ["--json"] if self._parsed.json else []
        more += ["-o", str(self._parsed.output)] if self._output.path else []
        return shlex.join(["kling-mcp", "wait", *task_ids, *more])

    async def _wait(self, client: Client, given: dict[str, Any]) -> None:
        """Wait until the tasks have ended, or the time is over; then save what they made."""
        began, most_s = time.monotonic(), self._parsed.timeout_s
        ids = given.get("task_ids", [])
        self._goes_on = self._wait_line(ids)
        while True:
            left_s = WAIT_S
            if most_s is not None:
                left_s = min(WAIT_S, max(0.0, most_s - (time.monotonic() - began)))
            answer = await client.call_tool(
                "kling_wait_for_tasks",
                {**given, "timeout_s": int(left_s)},
                progress_callback=self._progress,
            )
            fields = answer.structured_content or {}
            if answer.is_error or fields["done"]:
                break
            if most_s is not None and time.monotonic() - began >= most_s:
                break
        unsaved = None
        if not answer.is_error and self._output.path:
            answer, unsaved = await self._saved(client, answer)
        self._take(answer)
        if unsaved is None:
            self._print(_text_of(answer))
        if answer.is_error:
            return
        tasks = tasks_of(self._facts)
        if self._command.makes:
            del self._facts["done"], self._facts["tasks"]
            self._facts.pop("next", None)
            self._facts |= tasks[0]
        codes = (code_of_task(task, saves=self._saves) for task in tasks)
        self._code = max(codes, default=DONE)
        if unsaved is not None:
            goes_on = self._goes_on
            self._take(unsaved)
            self._print(_text_of(unsaved))
            if self._code == PROVIDER:  # it is made, and saved by the next wait
                self._code, self._goes_on = RUNNING, goes_on
        if len(tasks) == 1 and self._output.has_another(tasks[0]):
            said = f"{self._parsed.output} has another file, which is left as it is."
            self._write(said, sys.stderr)

    async def _saved(
        self, client: Client, answer: CallToolResult
    ) -> tuple[CallToolResult, CallToolResult | None]:
        """What was waited for, written to the place that `-o` names; and the error about that."""
        tasks, written = tasks_of(answer.structured_content or {}), list[Mapping[str, Any]]()
        unsaved = None
        for task in tasks:
            for task_id in [] if unsaved else await self._with_files(client, task):
                place = {"task_id": task_id, "path": self._output.path}
                saved = await client.call_tool("kling_save_video", place)
                if saved.is_error:
                    unsaved = saved
                    break
                written.append(saved.structured_content or {})
        if len(written) > len(tasks):
            paths = [file["path"] for file in written]
            self._facts["saved"] = paths
            self._print(f"Saved {' and '.join(paths)}.")
        ids = [task["task_id"] for task in tasks]
        again = await client.call_tool("kling_wait_for_tasks", {"task_ids": ids, "timeout_s": 0})
        if len(tasks) == len(written) == 1 and not again.is_error:
            _tell_place(again, written[0])
        return again, unsaved

    async def _with_files(self, client: Client, task: Mapping[str, Any]) -> list[str]:
        """The tasks whose files are those of this one: its own; of a batch the clips."""
        if task["status"] != "succeed":
            return []
        if task["task_id"].startswith(FILM_IDS) and "path" not in task and "file" not in task:
            batch = await client.call_tool("kling_get_task", {"task_id": task["task_id"]})
            shots = (batch.structured_content or {}).get("shots", [])
            return [shot["task_id"] for shot in shots if shot["status"] == "succeed"]
        return [task["task_id"]]

    async def _progress(self, progress: float, total: float | None, message: str | None) -> None:
        self._status.show(message or "")

    async def _ask(
        self, context: ClientRequestContext, params: ElicitRequestParams
    ) -> ElicitResult:
        """The person's answer to a question of the server: by --yes, or on the terminal."""
        if getattr(self._parsed, "yes", False):
            return ElicitResult(action="accept", content={"agree": True})
        self._status.clear()
        try:
            agreed = asked(params.message)
        except KeyboardInterrupt:
            self._is_sending = False
            self._stop()
            return ElicitResult(action="cancel")
        if agreed is None:
            self._unanswered = params.message
        if not agreed:
            return ElicitResult(action="decline")
        return ElicitResult(action="accept", content={"agree": True})

    def _take(self, answer: CallToolResult) -> None:
        """Keep the fields of an answer, and its exit code."""
        fields = dict(answer.structured_content or {})
        self._facts |= fields
        if answer.is_error:
            self._failed(fields)

    def _failed(self, fields: Mapping[str, Any]) -> None:
        self._code = code_of_error(fields.get("error"))
        if fields.get("charged") == "unknown":
            self._code = RUNNING
        elif self._code != RUNNING:
            self._goes_on = ""

    def refused(self, error: KlingError) -> None:
        """Keep an error that came before any answer."""
        self._facts |= error.facts()
        self._failed(error.facts())
        self._print(str(error))

    def _print(self, text: str) -> None:
        """Print an answer for a person: errors to standard error. Beside a request that would
        pass stands the command that makes it."""
        self._status.clear()
        passes = self._facts.get("would_pass", {}).get("change", {})
        line = command_with(self._command, self._words, passes)
        if line:
            text = text.replace(self._facts.get("next", ""), "").rstrip()
        if self._unanswered:
            text = f"{self._unanswered} {UNANSWERED}"
            self._facts["next"] = UNANSWERED
        if not self._parsed.json:
            out = sys.stderr if "error" in self._facts else sys.stdout
            self._write(in_shell(text, self._own_words()), out)
            if line:
                self._write(f"It passes as: {line}", out)

    def _write(self, text: str, stream: TextIO) -> None:
        """Print a text; what cannot be written, as on a full disk, is said at the end. Raises
        BrokenPipeError."""
        try:
            print(text, file=stream, flush=True)
        except BrokenPipeError:
            raise
        except OSError as error:
            self._unwritten = error
            abandoned(stream)

    def _own_words(self) -> set[str]:
        """The paths, prompts and names that an answer may tell."""
        given = _texts(
            [self._words, self._given, self._output.path, *map(str, self._output.folders())]
        )
        return {*given, *_texts(part for key, part in _parts(self._facts) if key in OWN_WORDS)}

    def end(self) -> int:
        """Print what is left to say. Returns the exit code."""
        self._status.clear()
        if self._code in (RUNNING, INTERRUPTED) and self._goes_on:
            self._facts["goes_on"] = self._goes_on
        if self._parsed.json:
            said = _with_commands(self._facts, self._own_words())
            self._write(json.dumps(said, ensure_ascii=False), sys.stdout)
        if self._unwritten:
            reason = self._unwritten.strerror
            self._write(f"The answer could not be written: {reason}.", sys.stderr)
            if self._code == DONE:
                self._code = RUNNING if self._goes_on else FAILED
        if self._code == RUNNING and self._goes_on:
            self._write(f"Go on with: {self._goes_on}", sys.stderr)
        return self._code

    def interrupted(self) -> None:
        """Say that Ctrl-C was pressed, and what goes on."""
        self._code = INTERRUPTED
        self._status.clear()
        on = f" Nothing is lost. Go on with: {self._goes_on}" if self._goes_on else ""
        self._write(f"Interrupted.{on}", sys.stderr)
        if self._is_sending:
            self._write(STILL_SENT, sys.stderr)

    def _stop(self) -> None:
        self.interrupted()
        self._scope.cancel()

    def _settings_for(self, given: Mapping[str, Any]) -> Settings:
        """The settings of this process. The person who gives the command names files wherever they
        are: their folders are added, and relative paths begin in the working folder."""
        settings = load_settings()
        folders = [Path.cwd(), *(file.resolve().parent for file in named_files(given))]
        level = {} if "log_level" in settings.model_fields_set else {"log_level": "ERROR"}
        return settings.model_copy(
            update={
                "tools": ("all",),
                "image_roots": tuple(dict.fromkeys([*folders, *settings.image_roots])),
                "save_roots": (*settings.save_roots, *self._output.folders()),
                **level,
            }
        )


def _tell_place(answer: CallToolResult, written: Mapping[str, Any]) -> None:
    """Have the answer about one task name the files that were written here: the ledger has one
    place for each, and another command may have named a further one just now."""
    (task,) = (answer.structured_content or {})["tasks"]
    before = [task.get("path"), *task.get("more", ())]
    now = [written["path"], *(file["path"] for file in written.get("more", ()))]
    if len(before) != len(now) or None in before:
        return
    task["path"] = now[0]
    if len(now) > 1:
        task["more"] = now[1:]
    for part in answer.content:
        if part.type == "text":
            part.text = part.text.replace(" and ".join(before), " and ".join(now))


def _makes_several(tool: str, given: Mapping[str, Any]) -> bool:
    """Whether it ends with files that do not go by one name with a number."""
    batch = tool == "kling_film" and not read_draft(FilmArguments, given).arguments.join
    return batch or len(given.get("task_ids", ())) > 1


def _parts(value: Any) -> Iterator[tuple[str, Any]]:
    """The parts of an answer with their names, also those within other parts."""
    inner = value.values() if isinstance(value, Mapping) else value
    if isinstance(value, Mapping):
        yield from value.items()
    for part in inner if isinstance(inner, Iterable) and not isinstance(inner, str) else ():
        yield from _parts(part)


def _texts(value: Any) -> Iterator[str]:
    """The texts of a value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Iterable):
        for part in value.values() if isinstance(value, Mapping) else value:
            yield from _texts(part)


def _with_commands(value: Any, keep: Collection[str], name: str = "") -> Any:
    """The fields of an answer, in which advice names commands and options."""
    if isinstance(value, Mapping):
        return {inner: _with_commands(part, keep, inner) for inner, part in value.items()}
    if isinstance(value, list):
        return [_with_commands(part, keep, name) for part in value]
    return in_shell(value, keep) if name in ADVICE and isinstance(value, str) else value


def _text_of(answer: CallToolResult) -> str:
    return "\n".join(part.text for part in answer.content if part.type == "text")
