"""What is wrong with the set-up: settings, keys, network, accounts, folders, versions.

Each module checks one thing and returns `Finding`s; `examination` runs them all. Nothing is spent:
providers are asked only for a task that does not exist and for the account's units.
Imported by `cli`, which prints them, and by `tasks`. Tests: tests/server/cli.
"""
