"""Settings from the environment and from a `.env` file.

Imported by everything above it.
Tests: tests/server/settings.
"""
