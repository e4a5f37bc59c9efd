"""What a client can read besides calling tools: the table of models."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mcp.server import MCPServer
from mcp.server.mcpserver.exceptions import ResourceNotFoundError

from kling_mcp.configuration import Configured
from kling_tools.capabilities import Capabilities

__all__ = ["add_resources"]

MODELS_URI = "kling://models"
MODEL_URI = "kling://models/{model_name}"


def add_resources(
    server: MCPServer[Any], providers: Mapping[str, Configured], capabilities: Capabilities
) -> None:
    """Give the server the resources of its models."""

    @server.resource(
        MODELS_URI,
        name="models",
        title="Kling models",
        description="What each model can do and costs, and where it is to be had.",
        mime_type="text/markdown",
    )
    def models() -> str:
        from kling_mcp.models_table import models_table

        return models_table(providers, capabilities)

    @server.resource(
        MODEL_URI,
        name="model",
        title="One Kling model",
        description="One model with its prices and sources.",
        mime_type="text/markdown",
    )
    def model(model_name: str) -> str:
        from kling_mcp.models_table import model_sheet

        sheet = model_sheet(model_name, providers, capabilities)
        if sheet is None:
            raise ResourceNotFoundError(f"There is no model {model_name} in the table.")
        return sheet
