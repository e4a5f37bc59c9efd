"""What the official conformance suite wants to find, registered on our own server.

The names and texts are the suite's; the server, its tools, middleware and transport are ours.
"""

import base64
import json
from io import BytesIO
from pathlib import Path
from typing import Any

import anyio
from mcp.server import MCPServer
from mcp.server.mcpserver import Context
from mcp.server.mcpserver.prompts.base import UserMessage
from mcp.server.mcpserver.tools import Tool
from mcp.shared.exceptions import MCPError
from mcp_types import (
    AudioContent,
    CallToolResult,
    CreateMessageRequest,
    CreateMessageRequestParams,
    ElicitRequest,
    ElicitRequestFormParams,
    EmbeddedResource,
    ImageContent,
    InputRequiredResult,
    ListRootsRequest,
    SamplingMessage,
    TextContent,
    TextResourceContents,
)
from PIL import Image
from tests.server.task_fixtures import fixture_server

__all__ = ["conformance_server"]

Ctx = Context[Any, Any]
MISSING_CAPABILITY = -32021


def _png() -> str:
    file = BytesIO()
    Image.new("RGB", (1, 1), (255, 0, 0)).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


PNG = _png()
WAV = base64.b64encode(
    b"RIFF\x24\0\0\0WAVEfmt \x10\0\0\0\1\0\1\0\x40\x1f\0\0\x80\x3e\0\0\2\0\x10\0data\0\0\0\0"
).decode()


def text(words: str) -> TextContent:
    return TextContent(type="text", text=words)


def embedded(uri: str, mime_type: str, words: str) -> EmbeddedResource:
    contents = TextResourceContents(uri=uri, mime_type=mime_type, text=words)
    return EmbeddedResource(type="resource", resource=contents)


def image() -> ImageContent:
    return ImageContent(type="image", data=PNG, mime_type="image/png")


def asks(message: str, **properties: str) -> ElicitRequest:
    schema = {
        "type": "object",
        "properties": {name: {"type": kind} for name, kind in properties.items()},
        "required": list(properties),
    }
    params = ElicitRequestFormParams(message=message, requested_schema=schema)
    return ElicitRequest(params=params)


def samples(words: str, max_tokens: int = 100) -> CreateMessageRequest:
    message = SamplingMessage(role="user", content=text(words))
    params = CreateMessageRequestParams(messages=[message], max_tokens=max_tokens)
    return CreateMessageRequest(params=params)


def given(ctx: Ctx, key: str) -> Any:
    """The client's answer to one of the requests, if it came."""
    return (ctx.input_responses or {}).get(key)


async def test_simple_text() -> TextContent:
    """Says a text."""
    return text("This is a simple text response for testing.")


async def test_image_content() -> ImageContent:
    """Shows a picture."""
    return image()


async def test_audio_content() -> AudioContent:
    """Plays a sound."""
    return AudioContent(type="audio", data=WAV, mime_type="audio/wav")


async def test_embedded_resource() -> EmbeddedResource:
    """Encloses a resource."""
    return embedded(
        "test://embedded-resource", "text/plain", "This is an embedded resource content."
    )


async def test_multiple_content_types() -> CallToolResult:
    """Says, shows and encloses."""
    data = json.dumps({"test": "data", "value": 123})
    enclosed = embedded("test://mixed-content-resource", "application/json", data)
    return CallToolResult(content=[text("Multiple content types test:"), image(), enclosed])


async def test_error_handling() -> CallToolResult:
    """Fails."""
    words = "This tool intentionally returns an error for testing"
    return CallToolResult(content=[text(words)], is_error=True)


async def test_tool_with_progress(ctx: Ctx) -> TextContent:
    """Tells of its progress."""
    for done in (0, 50, 100):
        await ctx.report_progress(done, 100)
        await anyio.sleep(0.05)
    return text("done")


async def test_sampling(prompt: str, ctx: Ctx) -> TextContent:
    """Asks the client's model."""
    message = SamplingMessage(role="user", content=text(prompt))
    answer = await ctx.session.create_message(
        [message], max_tokens=100, related_request_id=ctx.request_id
    )
    content: Any = answer.content
    return text(f"LLM response: {content.text}")


async def _elicited(ctx: Ctx, message: str, schema: dict[str, Any], head: str) -> TextContent:
    answer = await ctx.session.elicit_form(message, schema, related_request_id=ctx.request_id)
    return text(f"{head}: action={answer.action}, content={json.dumps(answer.content)}")


async def test_elicitation(message: str, ctx: Ctx) -> TextContent:
    """Asks the person."""
    properties = {
        "username": {"type": "string", "description": "User's response"},
        "email": {"type": "string", "description": "User's email address"},
    }
    schema = {"type": "object", "properties": properties, "required": [*properties]}
    return await _elicited(ctx, message, schema, "User response")


async def test_elicitation_sep1034_defaults(ctx: Ctx) -> TextContent:
    """Asks with a default for each kind of field."""
    states = ["active", "inactive", "pending"]
    properties = {
        "name": {"type": "string", "default": "John Doe"},
        "age": {"type": "integer", "default": 30},
        "score": {"type": "number", "default": 95.5},
        "status": {"type": "string", "enum": states, "default": "active"},
        "verified": {"type": "boolean", "default": True},
    }
    schema = {"type": "object", "properties": properties}
    return await _elicited(ctx, "Your details?", schema, "Elicitation completed")


async def test_elicitation_sep1330_enums(ctx: Ctx) -> TextContent:
    """Asks with every form of a choice."""
    plain = ["option1", "option2", "option3"]
    titled = [
        {"const": f"value{number}", "title": f"{word} {kind}"}
        for number, word in enumerate(("First", "Second", "Third"), 1)
        for kind in ("Option",)
    ]
    legacy = {"enum": ["opt1", "opt2", "opt3"]}
    names = ["Option One", "Option Two", "Option Three"]
    properties = {
        "untitledSingle": {"type": "string", "enum": plain},
        "titledSingle": {"type": "string", "oneOf": titled},
        "legacyEnum": {"type": "string", **legacy, "enumNames": names},
        "untitledMulti": {"type": "array", "items": {"type": "string", "enum": plain}},
        "titledMulti": {"type": "array", "items": {"anyOf": titled}},
    }
    schema = {"type": "object", "properties": properties}
    return await _elicited(ctx, "Choose", schema, "Elicitation completed")


async def test_streaming_elicitation(ctx: Ctx) -> TextContent | InputRequiredResult:
    """Tells of its progress, and asks."""
    await ctx.report_progress(1, 2)
    return await test_input_required_result_elicitation(ctx)


async def test_tool_with_logging(ctx: Ctx) -> TextContent:
    """Writes three lines to the client's log."""
    for line in ("Tool execution started", "Tool processing data", "Tool execution completed"):
        await ctx.info(line)
        await anyio.sleep(0.05)
    return text("logged")


async def test_logging_tool(ctx: Ctx) -> TextContent:
    """Writes to the client's log, if the client wants one."""
    await ctx.info("a line")
    return text("logged")


async def test_missing_capability(ctx: Ctx) -> TextContent:
    """Cannot be answered for a client that does not sample."""
    capabilities = ctx.client_capabilities
    if capabilities is None or capabilities.sampling is None:
        raise MCPError(
            code=MISSING_CAPABILITY,
            message="sampling is needed",
            data={"requiredCapabilities": {"sampling": {}}},
        )
    return text("The client samples.")


async def test_input_required_result_elicitation(ctx: Ctx) -> TextContent | InputRequiredResult:
    """Asks for a name."""
    answer = given(ctx, "user_name")
    content = getattr(answer, "content", None)
    if not content:
        return InputRequiredResult(
            input_requests={"user_name": asks("What is your name?", name="string")}
        )
    return text(f"Hello, {content['name']}!")


async def test_input_required_result_sampling(ctx: Ctx) -> TextContent | InputRequiredResult:
    """Asks the client's model."""
    answer = given(ctx, "capital_question")
    if answer is None:
        question = samples("What is the capital of France?")
        return InputRequiredResult(input_requests={"capital_question": question})
    return text(answer.content.text)


async def test_input_required_result_list_roots(ctx: Ctx) -> TextContent | InputRequiredResult:
    """Asks for the client's roots."""
    answer = given(ctx, "client_roots")
    if answer is None:
        return InputRequiredResult(input_requests={"client_roots": ListRootsRequest()})
    return text(", ".join(str(root.uri) for root in answer.roots))


async def test_input_required_result_request_state(ctx: Ctx) -> TextContent | InputRequiredResult:
    """Hands over a state and wants it back."""
    if given(ctx, "confirm") is None:
        confirm = asks("Please confirm", ok="boolean")
        return InputRequiredResult(input_requests={"confirm": confirm}, request_state="first")
    return text("state-ok" if ctx.request_state == "first" else "another state")


async def test_input_required_result_multiple_inputs(
    ctx: Ctx,
) -> TextContent | InputRequiredResult:
    """Asks for three things at once."""
    keys = ("user_name", "greeting", "client_roots")
    if not all(given(ctx, key) for key in keys):
        requests: Any = {
            "user_name": asks("What is your name?", name="string"),
            "greeting": samples("Generate a greeting", 50),
            "client_roots": ListRootsRequest(),
        }
        return InputRequiredResult(input_requests=requests, request_state="several")
    return text("All three came.")


async def test_input_required_result_multi_round(ctx: Ctx) -> TextContent | InputRequiredResult:
    """Asks twice, one after the other."""
    if given(ctx, "step2") is not None:
        return text(f"Both came: {ctx.request_state}")
    if given(ctx, "step1") is not None:
        step = asks("Step 2: What is your favorite color?", color="string")
        return InputRequiredResult(input_requests={"step2": step}, request_state="second")
    step = asks("Step 1: What is your name?", name="string")
    return InputRequiredResult(input_requests={"step1": step}, request_state="first")


async def test_input_required_result_tampered_state(
    ctx: Ctx,
) -> TextContent | InputRequiredResult:
    """Hands over a state that nobody else can make."""
    if given(ctx, "confirm") is None:
        confirm = asks("Please confirm", ok="boolean")
        return InputRequiredResult(input_requests={"confirm": confirm}, request_state="sealed")
    return text("The state is whole.")


async def test_input_required_result_capabilities(ctx: Ctx) -> TextContent | InputRequiredResult:
    """Asks only for what the client can do."""
    capabilities = ctx.client_capabilities
    requests: dict[str, Any] = {}
    if capabilities and capabilities.elicitation:
        requests["user_name"] = asks("What is your name?", name="string")
    if capabilities and capabilities.sampling:
        requests["greeting"] = samples("Generate a greeting", 50)
    if not requests or ctx.input_responses:
        return text("Nothing more is asked.")
    return InputRequiredResult(input_requests=requests)


TOOLS = (
    test_simple_text,
    test_image_content,
    test_audio_content,
    test_embedded_resource,
    test_multiple_content_types,
    test_error_handling,
    test_tool_with_progress,
    test_sampling,
    test_elicitation,
    test_elicitation_sep1034_defaults,
    test_elicitation_sep1330_enums,
    test_missing_capability,
    test_streaming_elicitation,
    test_tool_with_logging,
    test_logging_tool,
    test_input_required_result_elicitation,
    test_input_required_result_sampling,
    test_input_required_result_list_roots,
    test_input_required_result_request_state,
    test_input_required_result_multiple_inputs,
    test_input_required_result_multi_round,
    test_input_required_result_tampered_state,
    test_input_required_result_capabilities,
)


SCHEMA: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "$defs": {
        "address": {
            "$anchor": "addressDef",
            "type": "object",
            "properties": {"street": {"type": "string"}, "city": {"type": "string"}},
        }
    },
    "properties": {
        "name": {"type": "string"},
        "address": {"$ref": "#/$defs/address"},
        "contactMethod": {"type": "string", "enum": ["phone", "email"]},
        "phone": {"type": "string"},
        "email": {"type": "string"},
    },
    "allOf": [{"anyOf": [{"required": ["phone"]}, {"required": ["email"]}]}],
    "if": {"properties": {"contactMethod": {"const": "phone"}}, "required": ["contactMethod"]},
    "then": {"required": ["phone"]},
    "else": {"required": ["email"]},
    "additionalProperties": False,
}


def _schema_tool() -> Tool:
    """A tool that publishes more of JSON Schema than ours do."""
    tool = Tool.from_function(
        test_simple_text,
        name="json_schema_2020_12_tool",
        description="Tool with JSON Schema 2020-12 features",
        structured_output=False,
    )
    return tool.model_copy(update={"parameters": SCHEMA})


def conformance_server(folder: Path) -> MCPServer[Any]:
    """The product's server over a sandbox in this folder, with everything the suite wants."""
    tools = [Tool.from_function(tool, structured_output=False) for tool in TOOLS]
    server = fixture_server(folder, [*tools, _schema_tool()])
    _add_resources(server)
    _add_prompts(server)
    return server


def _add_resources(server: MCPServer[Any]) -> None:
    @server.resource("test://static-text", mime_type="text/plain")
    def static_text() -> str:
        return "This is the content of the static text resource."

    @server.resource("test://static-binary", mime_type="image/png")
    def static_binary() -> bytes:
        return base64.b64decode(PNG)

    @server.resource("test://template/{id}/data", mime_type="application/json")
    def template(id: str) -> str:  # noqa: A002
        return json.dumps({"id": id, "templateTest": True, "data": f"Data for ID: {id}"})


def _add_prompts(server: MCPServer[Any]) -> None:
    @server.prompt()
    def test_simple_prompt() -> str:
        """A prompt of the suite."""
        return "This is a simple prompt for testing."

    @server.prompt()
    def test_prompt_with_arguments(arg1: str, arg2: str) -> str:
        """A prompt of the suite."""
        return f"Prompt with arguments: arg1='{arg1}', arg2='{arg2}'"

    @server.prompt()
    def test_prompt_with_embedded_resource(resourceUri: str) -> list[UserMessage]:  # noqa: N803
        """A prompt of the suite."""
        enclosed = embedded(resourceUri, "text/plain", "Embedded resource content for testing.")
        return [UserMessage(enclosed), UserMessage("Please process the embedded resource above.")]

    @server.prompt()
    def test_prompt_with_image() -> list[UserMessage]:
        """A prompt of the suite."""
        return [UserMessage(image()), UserMessage("Please analyze the image above.")]

    @server.prompt()
    def test_input_required_result_prompt(ctx: Ctx) -> str | InputRequiredResult:
        """A prompt of the suite."""
        answer = given(ctx, "user_context")
        if answer is None:
            question = asks("What context should the prompt use?", context="string")
            return InputRequiredResult(input_requests={"user_context": question})
        return f"Use this context: {answer.content['context']}"
