"""`python -m bundle [FOLDER]`: a folder ready for `npx @anthropic-ai/mcpb pack FOLDER`."""

import argparse
import importlib.util
import sys
import tempfile
from pathlib import Path

from bundle.folder import built_wheel, make_folder

__all__ = ["main"]

USUAL = Path("dist/mcpb")


def main() -> None:
    """Build the wheel of this tree and lay the bundle out around it."""
    parser = argparse.ArgumentParser(prog="python -m bundle", description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=USUAL, help="%(default)s")
    folder = parser.parse_args().folder
    if importlib.util.find_spec("hatchling") is None:
        sys.exit("The bundle requires hatchling: pip install hatchling")
    with tempfile.TemporaryDirectory() as built:
        make_folder(folder, built_wheel(Path(built)))
    print(f"The bundle's folder is ready: {folder}")
    print("Pack it into one file (requires Node.js):")
    print(f"  npx @anthropic-ai/mcpb pack {folder} dist/kling-mcp.mcpb")


main()
