"""The machine of kling-mcp: settings, providers, HTTP, ledger, pictures, sandbox and transports."""
