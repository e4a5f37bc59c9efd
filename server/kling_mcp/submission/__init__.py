"""One paid request: judged, priced, confirmed, written down, sent once, found again.

Imported by `polling` and `runtime`.
Tests: tests/server/submission.
"""
