"""One paid request: judged, priced, confirmed, written down, sent once, found again.

Imported by `service`, `runtime` and `films`.
Tests: tests/server/submission.
"""
