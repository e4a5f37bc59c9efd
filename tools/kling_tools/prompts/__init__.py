"""Prompts that a person picks, and the plans behind them.

Imported by `kling_mcp.protocol`.
Tests: tests/tools.
"""
