"""``python -m daskagents``: the command line."""

import sys

from daskagents.cli import main

if __name__ == "__main__":
    sys.exit(main())
