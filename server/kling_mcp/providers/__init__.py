"""Who is asked and how: rows, keys, HTTP, dialects, error codes.

Imported by everything above `settings` and `inputs`; the only package that speaks HTTP with providers.
Tests: tests/server/providers.
"""
