"""Ledger rows as answers: found, listed and shown.

Imported by `service`, `protocol` and `hosting`.
Tests: tests/server/submission tests/server/protocol.
"""
