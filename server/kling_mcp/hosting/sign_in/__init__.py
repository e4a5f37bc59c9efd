"""Signing in by URL: a team's server is its own authorization server (OAuth 2.1).

A program such as claude.ai is given the server's address. It sends the person to a page here, the
person signs in with a token of `kling-mcp tokens`, and the program gets tokens of its own. Imported
by the rest of `hosting`, which serves it.
Tests: tests/server/hosting/sign_in, tests/browser.
"""
