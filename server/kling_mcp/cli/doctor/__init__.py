"""What `kling-mcp doctor` looks at: settings, keys, network, accounts, folders, versions.

Each module looks at one thing and gives `Finding`s; `examination` runs them, side by side where
they wait for somebody else. Nothing is spent: providers are only asked for a task that does not
exist, and for what is left of the account.
"""
