"""Settings from the environment and from a `.env` file.

Imported by everything above it but `polling`, `submission`, `outputs` and `inputs`.
Tests: tests/server/settings.
"""
