"""What an MCP client sees: tools, resources, prompts, completions, subscriptions, tasks.

Imported by `cli` and `hosting`.
Tests: tests/server/protocol.
"""
