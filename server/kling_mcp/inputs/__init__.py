"""Pictures, sounds and videos of requests: found in any form, checked, held until they are sent.

Imported by everything above `settings`.
Tests: tests/server/inputs.
"""
