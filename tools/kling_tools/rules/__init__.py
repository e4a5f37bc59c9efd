"""What holds between fields, what a model can do, and what it costs.

Imported by `prompts`, `results` and `kling_mcp`.
Tests: tests/tools.
"""
