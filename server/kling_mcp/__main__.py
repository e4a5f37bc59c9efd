"""`python -m kling_mcp` is the command `kling-mcp`."""

import sys

from kling_mcp.cli.main import main

sys.exit(main())
