"""One scheduler asks for all tasks that somebody waits for.

Imported by `runtime` and `service`.
Tests: tests/server/polling.
"""
