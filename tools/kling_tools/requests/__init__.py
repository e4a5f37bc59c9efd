"""A request class for each product, with the limits of its fields.

Imported by `tools`, `prompts`, `service`, `rules` and `kling_mcp`.
Tests: tests/tools.
"""
