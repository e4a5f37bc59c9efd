"""What holds between fields, what a model can do, and what it costs.

Imported by `tools`, `prompts` and `kling_mcp`.
Tests: tests/tools.
"""
