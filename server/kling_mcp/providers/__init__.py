"""The providers: their table, keys, HTTP, dialects and error codes.

Imported by everything above it; alone in speaking HTTP with providers.
Tests: tests/server/providers.
"""
