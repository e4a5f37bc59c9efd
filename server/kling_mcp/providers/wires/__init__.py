"""The two ways in which Kling takes a request: its fields in, one path and one JSON body out.

`orders` says what a request looks like on each, `new_standard` renders the new one. Imported by
everything above `inputs`. Tests: tests/server/providers/wires.
"""

from kling_mcp.providers.wires.orders import create_path, order_body

__all__ = ["create_path", "order_body"]
