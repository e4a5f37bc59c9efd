"""Ledger rows as answers: found, listed and shown; an account's elements and voices beside them.

Imported by everything above it but `protocol`.
Tests: tests/server/tasks tests/server/submission tests/server/protocol.
"""
