"""Ledger rows as answers: found, listed and shown.

Imported by `outputs`, `polling`, `runtime`, `service` and `hosting`.
Tests: tests/server/tasks tests/server/submission tests/server/protocol.
"""
