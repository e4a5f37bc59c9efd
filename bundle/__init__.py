"""The bundle for Claude Desktop: `python -m bundle` builds the folder that `mcpb pack` packs."""
