"""The commands of `kling-mcp`, one module a command.

Imports anything; nothing imports it.
Tests: tests/server/cli.
"""
