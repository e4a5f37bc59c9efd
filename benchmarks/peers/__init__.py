"""Published MCP servers that make videos, and this one, side by side: `python -m benchmarks.peers`.

All of them speak to one provider on this machine, each in the words of its own API.
"""
