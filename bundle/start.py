"""Where the host starts the bundle: the command `kling-mcp`, from the wheel beside this file."""

import sys

from kling_mcp.cli.main import main

sys.exit(main())
