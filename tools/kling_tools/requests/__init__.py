"""A request class for each product, with the limits of its fields.

Imported by `rules`, `tools`, `prompts` and `kling_mcp`.
Tests: tests/tools.
"""
