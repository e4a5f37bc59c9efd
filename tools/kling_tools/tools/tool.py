"""One tool: it reads, handles and answers a call, and asks the person behind the host.

Until protocol 2025-11-25 the server sends a request of its own in the middle of a call. From
2026-07-28 on it answers the call with its question, and the client repeats the call with the
answer.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence, Set
from dataclasses import replace
from inspect import cleandoc
from typing import Any

from mcp.server.mcpserver import Context
from mcp.server.mcpserver.tools import Tool
from mcp.server.mcpserver.utilities.func_metadata import ArgModelBase, FuncMetadata
from mcp.shared.exceptions import MCPError
from mcp_types import (
    CallToolResult,
    ContentBlock,
    ElicitRequest,
    ElicitRequestFormParams,
    ElicitResult,
    InputRequiredResult,
    TextContent,
    ToolAnnotations,
)
from mcp_types.version import is_version_at_least
from pydantic import BaseModel, Field, ValidationError

from kling_tools.decorations import decoration
from kling_tools.errors import ImageRejected, InvalidRequest, KlingError, SpendCapReached
from kling_tools.faults import Fault
from kling_tools.products import ASSETS, FILM, PRODUCTS_BY_TOOL
from kling_tools.requests.arguments import SpendingChoices
from kling_tools.requests.assets import AssetChanges
from kling_tools.requests.drafts import Draft, read_draft
from kling_tools.requests.films import FilmArguments
from kling_tools.results import AnotherTake, Answer
from kling_tools.service import Report, VideoService
from kling_tools.tools.schema import answer_schema

__all__ = [
    "SPENDING",
    "AskFirst",
    "Call",
    "Handler",
    "KlingTool",
    "confirm",
    "error_answer",
    "text_without_tools",
    "without_tools",
]


KEY = "confirm"
ANSWERS_INSTEAD = "2026-07-28"


class Agreement(BaseModel):
    """The form that the person fills in."""

    agree: bool


FORM: Mapping[str, Any] = {
    "type": "object",
    "properties": {"agree": {"type": "boolean", "title": "Agree?"}},
    "required": ["agree"],
}
"""The schema of an `Agreement`, as hosts show it."""


class AskFirst(Exception):
    """The call ends with a question; the client repeats it with the person's answer."""

    def __init__(self, result: InputRequiredResult) -> None:
        super().__init__("the person has to be asked first")
        self.result = result


async def confirm(context: Context[Any, Any], question: str, setting: str) -> bool:
    """Whether the person agrees.

    Raises SpendCapReached, which names the setting, if the host cannot ask, and AskFirst if the
    question takes another round of the call.
    """
    capabilities = context.client_capabilities
    elicitation = capabilities.elicitation if capabilities else None
    unasked = SpendCapReached(
        f"The person has to agree first ({setting}), and this host cannot ask them.",
        advice=f'The question is: "{question}" Have the setting raised, or choose a cheaper video.',
    )
    if elicitation is None or (elicitation.form is None and elicitation.url is not None):
        raise unasked
    version = context.protocol_version
    if version is None or not is_version_at_least(version, ANSWERS_INSTEAD):
        try:
            return _agrees(await _asked(context, question))
        except ValidationError:
            return False
        except MCPError:
            raise unasked from None
    state = hashlib.sha256(question.encode()).hexdigest()
    answer = (context.input_responses or {}).get(KEY)
    if isinstance(answer, ElicitResult) and context.request_state == state:
        return _agrees(answer)
    request = ElicitRequest(
        params=ElicitRequestFormParams(message=question, requested_schema=dict(FORM))
    )
    raise AskFirst(InputRequiredResult(input_requests={KEY: request}, request_state=state))


async def _asked(context: Context[Any, Any], question: str) -> ElicitResult:
    """The host's answer. Raises pydantic.ValidationError for one that the protocol lacks, and
    MCPError."""
    return await context.request_context.session.elicit_form(
        question, dict(FORM), context.request_id
    )


def _agrees(answer: ElicitResult) -> bool:
    """Whether the answer is a clear yes: hosts also accept a form that nobody filled in."""
    try:
        return answer.action == "accept" and Agreement.model_validate(answer.content).agree
    except ValidationError:
        return False


logger = logging.getLogger(__name__)


class Call:
    """One call for its handler: the caller's service, and the way to the host and its person."""

    def __init__(self, service: VideoService, context: Context[Any, Any]) -> None:
        self.service = service
        self._context = context

    @property
    def report(self) -> Report:
        """Sends progress to a caller that asked for it; otherwise does nothing."""
        return self._context.report_progress

    @property
    def host(self) -> tuple[str, str]:
        """The host's name and version, as it gives them; empty when it does not."""
        client = self._context.session.client_params
        return (client.client_info.name, client.client_info.version) if client else ("", "")

    @property
    def shows_player(self) -> bool:
        """Whether the host shows apps, and therefore the player."""
        from mcp.server.apps import client_supports_apps

        return client_supports_apps(self._context)

    async def confirm(self, question: str, setting: str) -> bool:
        """Whether the person agrees; see the function `confirm`."""
        return await confirm(self._context, question, setting)

    async def agreed(self, question: str) -> bool:
        """Whether the person agrees to what costs nothing. Raises KlingError if the host cannot
        ask, and AskFirst."""
        try:
            return await confirm(self._context, question, "")
        except SpendCapReached:
            raise KlingError(
                "The person has to agree first, and this host cannot ask them.",
                advice=f'Ask them: "{question}" If they agree, call again with confirm true.',
            ) from None


Handler = Callable[[Draft[Any], Call], Awaitable[Answer]]


class KlingTool(Tool):
    """A tool of this server: an arguments class, a handler, and an answer class."""

    arguments: type[BaseModel] = Field(exclude=True)
    handler: Handler = Field(exclude=True)
    service: Callable[[], VideoService] = Field(exclude=True)
    lacking: frozenset[str] = Field(default=frozenset(), exclude=True)
    """The tools that this server leaves out: no answer may name them."""

    @classmethod
    def of(
        cls,
        handler: Handler,
        service: Callable[[], VideoService],
        *,
        name: str,
        title: str,
        description: str,
        arguments: type[BaseModel],
        answer: type[Answer],
        annotations: ToolAnnotations,
        input_schema: dict[str, Any],
        answer_fields: Sequence[str],
        meta: dict[str, Any] | None = None,
    ) -> KlingTool:
        """The tool. A call sees the tasks of the service that `service` returns; the schema of the
        answer has the `answer_fields`."""
        return cls(
            fn=handler,
            is_async=True,
            name=name,
            title=title,
            description=" ".join(cleandoc(description).split()),
            parameters=input_schema,
            fn_metadata=FuncMetadata(
                arg_model=ArgModelBase,
                output_schema=answer_schema(answer, fields=answer_fields),
            ),
            annotations=annotations,
            meta=meta,
            arguments=arguments,
            handler=handler,
            service=service,
        )

    def beside(self, lacking: frozenset[str]) -> KlingTool:
        """The tool of a server without those that are `lacking`: neither its texts nor its answers
        name one of them."""
        fields = {
            name: {**field, "description": without_tools(field["description"], lacking)}
            if "description" in field
            else field
            for name, field in self.parameters["properties"].items()
        }
        return self.model_copy(
            update={
                "lacking": lacking,
                "description": without_tools(self.description, lacking),
                "parameters": {**self.parameters, "properties": fields},
            }
        )

    @property
    def spends(self) -> bool:
        """Whether a call may cost money, or changes what the account has at its provider."""
        return issubclass(self.arguments, SpendingChoices | AssetChanges | FilmArguments)

    async def run(
        self,
        arguments: dict[str, Any],
        context: Context[Any, Any],
        convert_result: bool = False,
    ) -> CallToolResult | InputRequiredResult:
        """Answer one call. An error for the agent is an answer; only MCPError is raised."""
        try:
            call = Call(self.service(), context)
            lacking = self.lacking | (frozenset() if call.service.may_spend else SPENDING)
            result = await self._answer(arguments, call, lacking)
        except AskFirst as question:
            return question.result
        except MCPError:
            raise
        except Exception:
            logger.exception("%s broke", self.name)
            return error_answer(self._broken(arguments), self.lacking)
        return await _with_news(result, call.service, lacking)

    async def _answer(
        self, arguments: dict[str, Any], call: Call, lacking: Set[str]
    ) -> CallToolResult:
        try:
            answer = await self.handler(read_draft(self.arguments, arguments), call)
        except KlingError as error:
            if self._is_dry(arguments):
                error.charged = "no"
            return error_answer(error, lacking)
        with decoration("the tools that are here", waits=False):
            _leave_out(answer, lacking)
        return await _shown(answer, call)

    def _is_dry(self, arguments: dict[str, Any]) -> bool:
        """Whether the call is a dry run, which spends nothing whatever becomes of it."""
        named = {name: arguments[name] for name in ("dry_run",) if name in arguments}
        return bool(getattr(read_draft(self.arguments, named).arguments, "dry_run", False))

    def _broken(self, arguments: dict[str, Any]) -> KlingError:
        """The error about a mistake of this program; the details are in the log."""
        reads = self.annotations is not None and self.annotations.read_only_hint
        return KlingError(
            "The server made a mistake of its own; its log on standard error tells more.",
            charged="no" if reads or self._is_dry(arguments) else "unknown",
            advice="Look with kling_list_tasks before anything is submitted again.",
        )


async def _shown(answer: Answer, call: Call) -> CallToolResult:
    """The answer in full. It may be the receipt of a paid video: what breaks here is left out, and
    at worst the bare fields go out."""
    fields: dict[str, Any] = {n: v for n, v in vars(answer).items() if isinstance(v, str | int)}
    text = ", ".join(f"{name}: {value}" for name, value in fields.items())
    pictures: list[ContentBlock] = []
    meta: dict[str, Any] | None = None
    with decoration("its full form", waits=False):
        fields = answer.structured()
        text = answer.text()
        meta = answer.for_apps()
    with decoration("its images", waits=False):
        pictures += answer.images()
    with decoration("posters"):
        posters = await call.service.posters(answer.finished())
        pictures += [part for poster in posters for part in poster.content()]
    return CallToolResult(
        content=[TextContent(type="text", text=text), *pictures],
        structured_content=fields,
        _meta=meta,
    )


async def _with_news(
    result: CallToolResult, service: VideoService, lacking: Set[str]
) -> CallToolResult:
    """The answer, with what its caller is to be told once."""
    news = ""
    with decoration("what waits here"):
        news = without_tools(await service.news(), lacking)
    if news:
        first = result.content[0]
        assert isinstance(first, TextContent)
        first.text = f"{first.text}\n{news}"
        result.structured_content = {**(result.structured_content or {}), "news": news}
    return result


def error_answer(error: KlingError, lacking: Set[str] = frozenset()) -> CallToolResult:
    """The answer about an error: one paragraph, and the same facts as fields. Its advice names none
    of the tools that are `lacking`."""
    if isinstance(error, InvalidRequest | ImageRejected):
        faults = [_fault_without_tools(fault, lacking) for fault in error.faults]
        error = type(error)(faults, advice=error.advice, would_pass=error.would_pass)
    message, whole = error.message, error.advice
    error.message, error.advice = _unnamed(message, lacking), without_tools(whole, lacking)
    try:
        return CallToolResult(
            content=[TextContent(type="text", text=str(error))],
            structured_content=error.facts(),
            is_error=True,
        )
    finally:
        error.message, error.advice = message, whole


SPENDING = frozenset(
    (
        *PRODUCTS_BY_TOOL,
        *(row.tool for row in ASSETS.values()),
        FILM.tool,
        "kling_cancel_task",
        "kling_delete_asset",
        "kling_upload_picture",
    )
)
"""Tools that a caller who may not spend is refused."""

_TOOL_NAME = re.compile(r"\bkling_[a-z_]+")
_TO_MAKE = re.compile(
    r"(?<!not )\b(?:submit(?:ting)? |raise take\b|another_take_of\b)", re.IGNORECASE
)
"""Words that ask for a tool that makes something, without its name."""

_SENTENCE_END = re.compile(r"(?<=[.!?])\s+")
_CLAUSE_END = re.compile(r"(?<=[;:])\s+")


_ALTERNATIVE = re.compile(r"(;\s+|,? or )")
_ASKS = re.compile(r'kling_get_task with task_id "?([^"\s;,]+)"?')
_WAITS = re.compile(r'kling_wait_for_tasks with task_ids \["([^"]+)"\]')
_IN_PLACE = {
    "kling_get_task": (_ASKS, r'kling_wait_for_tasks with task_ids ["\1"]'),
    "kling_wait_for_tasks": (_WAITS, r'kling_get_task with task_id "\1"'),
}
"""The call that stands in for the one of a tool that is not there."""


def _unnamed(message: str, lacking: Set[str]) -> str:
    """The message without the names of tools that are `lacking`."""
    return _TOOL_NAME.sub(
        lambda name: LEFT_OUT if name[0] in lacking else name[0],
        message,
    )


LEFT_OUT = "a tool that this server leaves out"


def _use_without_tools(use: str, lacking: Set[str]) -> str:
    """The alternatives of a fault that name no tool that is `lacking`."""
    first, *rest = _ALTERNATIVE.split(use)
    parts = [("", first), *zip(rest[::2], rest[1::2], strict=True)]
    kept = [part for part in parts if lacking.isdisjoint(_TOOL_NAME.findall(part[1]))]
    return "".join(
        text if place == 0 else f"{joint}{text}" for place, (joint, text) in enumerate(kept)
    )


def _fault_without_tools(fault: Fault, lacking: Set[str]) -> Fault:
    return replace(
        fault,
        message=_unnamed(fault.message, lacking),
        use=_use_without_tools(fault.use, lacking),
    )


def without_tools(advice: str, lacking: Set[str]) -> str:
    """The advice without what names a tool that is `lacking`: a sentence ends before the clause
    that does. Where nothing can be made, advice to make it again is left out, too."""
    if not lacking:
        return advice
    makes = any(name not in lacking for name in PRODUCTS_BY_TOOL)
    for name, (call, in_place) in _IN_PLACE.items():
        if name in lacking and not lacking >= _IN_PLACE.keys():
            advice = call.sub(in_place, advice)
    kept = []
    for sentence in _SENTENCE_END.split(advice):
        clauses = []
        for clause in _CLAUSE_END.split(sentence):
            names = _TOOL_NAME.findall(clause)
            if any(name in lacking for name in names) or (not makes and _TO_MAKE.search(clause)):
                break
            clauses.append(clause)
        whole = " ".join(clauses)
        kept.append(whole if whole == sentence or not whole else f"{whole.rstrip(';:')}.")
    return " ".join(filter(None, kept))


ADVICE = ("next", "note", "file", "used_in")
"""The fields of answers, and of what is in them, that hold advice."""


def text_without_tools(text: str, lacking: Set[str]) -> str:
    """A text of numbered and other lines, or a JSON document, without what names a tool that is
    `lacking`; lines that say nothing then are left out."""
    if lacking.isdisjoint(_TOOL_NAME.findall(text)):
        return text
    try:
        return json.dumps(_document_without(json.loads(text), lacking), ensure_ascii=False)
    except ValueError:
        pass
    lines: list[str] = []
    number = 0
    for line in text.split("\n"):
        numbered = _NUMBERED.match(line)
        step = line[numbered.end() :] if numbered else line
        kept = without_tools(step, lacking)
        if numbered and kept:
            number += 1
        if kept or not step:
            lines.append(f"{number}. {kept}" if numbered else kept)
    return "\n".join(lines)


_NUMBERED = re.compile(r"\d+\. ")


def _document_without(value: Any, lacking: Set[str]) -> Any:
    if isinstance(value, list):
        return [_document_without(part, lacking) for part in value]
    if not isinstance(value, dict):
        return value
    return {
        name: without_tools(part, lacking)
        if name in ADVICE and isinstance(part, str)
        else _document_without(part, lacking)
        for name, part in value.items()
        if not (isinstance(part, dict) and part.get("tool") in lacking)
    }


def _leave_out(answer: BaseModel, lacking: Set[str]) -> None:
    """Take out of an answer what names a tool that is `lacking`."""
    if not lacking:
        return
    for name, value in vars(answer).items():
        if isinstance(value, str) and name in ADVICE:
            setattr(answer, name, without_tools(value, lacking))
        elif isinstance(value, AnotherTake) and value.tool in lacking:
            setattr(answer, name, None)
        elif name == "faults":
            for fault in value:
                fault["message"] = _unnamed(fault["message"], lacking)
                fault["use"] = _use_without_tools(fault.get("use", ""), lacking)
        elif name == "warnings":
            setattr(answer, name, [*filter(None, (without_tools(v, lacking) for v in value))])
        for part in value if isinstance(value, list) else [value]:
            if isinstance(part, BaseModel):
                _leave_out(part, lacking)
