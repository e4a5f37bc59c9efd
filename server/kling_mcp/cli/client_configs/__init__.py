"""Adds this server to the configuration of MCP clients, and removes it again.

`clients` is the table of clients. `entries` has what is entered, `jsonc` puts it into the text and
keeps all other bytes, `change` writes the file. For files in other formats the entry is printed.
Imported by `cli.install`. Tests: tests/server/cli.
"""
