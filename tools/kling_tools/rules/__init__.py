"""The rules between fields, the abilities of models, and their prices.

Imported by `prompts`, `results` and `kling_mcp`.
Tests: tests/tools.
"""
