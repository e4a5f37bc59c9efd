"""The server for a team: logins, limits, callbacks, links, storage, health.

Imported by `cli`. The server for one person runs without this folder.
Tests: tests/server/hosting tests/server/replicas.
"""
