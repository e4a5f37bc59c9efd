"""The server for a team: logins, limits, callbacks, links, storage, health. A wing on top.

Imported by `cli` alone: without this folder the server for one person runs as before.
Tests: tests/server/hosting tests/server/replicas.
"""
