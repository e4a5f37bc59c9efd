"""What converters make of the tool schemas: converters.py COMMAND...

Prints one line of JSON: how many facts the schemas hold and, per converter, which of them it lost,
a fact being the name, type, description, choices, limits or duty of a property.
"""

import asyncio
import json
import os
import sys
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from agents.mcp import MCPServerStdio, MCPUtil
from google.genai._mcp_utils import mcp_to_gemini_tool
from pydantic_ai.profiles.google import GoogleJsonSchemaTransformer, GoogleOpenAPISchemaTransformer
from pydantic_ai.profiles.openai import OpenAIJsonSchemaTransformer
from pydantic_ai.providers.anthropic import AnthropicJsonSchemaTransformer

LIMITS = ("minimum", "maximum", "minLength", "maxLength", "minItems", "maxItems")
TRANSFORMERS = (
    OpenAIJsonSchemaTransformer,
    AnthropicJsonSchemaTransformer,
    GoogleJsonSchemaTransformer,
    GoogleOpenAPISchemaTransformer,
)
Fact = tuple[str, str, str]


def facts(schema: dict[str, Any], at: str) -> Iterator[Fact]:
    """All that a schema says; null as a choice is left out, Google has a word of its own for it."""
    options = [one for one in schema.get("anyOf", []) if one.get("type", "").lower() != "null"]
    for option in options:
        yield from facts(option, at)
    if isinstance(kind := schema.get("type"), str):
        yield at, "type", kind.lower()
    if "description" in schema:
        yield at, "description", schema["description"]
    for limit in LIMITS:
        if limit in schema:
            yield at, limit, f"{float(schema[limit]):g}"
    for name in schema.get("required", []):
        yield at, "required", name
    for choice in schema.get("enum", []):
        yield at, "enum", choice
    for name, inner in schema.get("properties", {}).items():
        yield f"{at}.{name}", "property", name
        yield from facts(inner, f"{at}.{name}")
    if "items" in schema:
        yield from facts(schema["items"], f"{at}[]")


async def main(command: str, *arguments: str) -> None:
    given: set[Fact] = set()
    made: dict[str, set[Fact]] = defaultdict(set)
    started = {"command": command, "args": list(arguments), "env": dict(os.environ)}
    async with MCPServerStdio(started, client_session_timeout_seconds=60) as server:
        for tool in await server.list_tools():
            schema, name = tool.input_schema, tool.name
            given |= {(name, "tool", tool.description), *facts(schema, name)}

            function = MCPUtil.to_function_tool(tool, server, convert_schemas_to_strict=False)
            made["openai-agents"].add((function.name, "tool", function.description))
            made["openai-agents"].update(facts(function.params_json_schema, function.name))

            (gemini,) = mcp_to_gemini_tool(tool).function_declarations
            parameters = gemini.parameters.model_dump(mode="json", by_alias=True, exclude_none=True)
            made["google-genai"].add((gemini.name, "tool", gemini.description))
            made["google-genai"].update(facts(parameters, gemini.name))

            for transformer in TRANSFORMERS:
                walked = transformer(json.loads(json.dumps(schema)), strict=None).walk()
                made[transformer.__name__].update(facts(walked, name))
    for transformer in TRANSFORMERS:
        # These convert the schema only; the name and the description pass them by.
        made[transformer.__name__] |= {fact for fact in given if fact[1] == "tool"}
    report = {
        converter: {"facts": len(given), "lost": sorted(given - got)}
        for converter, got in made.items()
    }
    print(json.dumps(report))


asyncio.run(main(*sys.argv[1:]))
