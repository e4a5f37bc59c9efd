"""A request class for each product, with the limits of its fields.

Imported by `rules`, `tools` and `kling_mcp`.
Tests: tests/tools.
"""
