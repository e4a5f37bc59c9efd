"""The server for a team: logins, limits, callbacks, links, storage, health.

Only `cli` imports it. The server for one person runs without this folder.
Tests: tests/server/hosting tests/server/replicas.
"""
