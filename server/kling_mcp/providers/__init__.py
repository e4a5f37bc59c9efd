"""Who is asked and how: rows, keys, HTTP, dialects, error codes.

Imported by everything above `inputs`; alone in speaking HTTP with providers.
Tests: tests/server/providers.
"""
