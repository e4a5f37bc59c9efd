"""The commands of `kling-mcp`, one module a command.

Imported by `__main__`.
Tests: tests/server/cli.
"""
