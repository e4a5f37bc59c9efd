"""Writing this server into the configuration of MCP clients, and taking it out again.

`clients` is the table of what is known about each; `edits` says what changes, `jsonc` makes the
change in the text so that all else in it stays byte for byte; `change` writes the file. Files in
other formats are not changed: the entry is printed.
"""
