"""One scheduler asks for all tasks that somebody waits for.

Imported by `service`, `runtime` and `films`.
Tests: tests/server/polling.
"""
