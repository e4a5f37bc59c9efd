"""One paid request: judged, priced, confirmed, written down, sent once, found again.

Imported by `runtime`, `service` and `tasks`.
Tests: tests/server/submission.
"""
