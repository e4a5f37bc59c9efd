"""The resources that a client reads, one module for each kind of address.

Imported by `protocol` alone.
Tests: tests/server/protocol.
"""
