"""Pictures, sounds and videos of requests: found in any form, checked, held until they are sent.

Imported by everything above it but `protocol`, `polling`, `tasks`, `doctor` and `ledger`.
Tests: tests/server/inputs.
"""
