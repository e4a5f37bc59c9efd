"""The contract of kling-mcp: what an agent can ask, what it gets, and what can go wrong."""
