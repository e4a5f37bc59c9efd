"""What an assistant reads about each tool, and the sets of tools.

Imported by `kling_mcp`.
Tests: tests/tools.
"""
