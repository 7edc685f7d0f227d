"""``python -m imgmake``: the same as the command. Nothing else lives here."""

import sys

from imgmake.cli import main

if __name__ == "__main__":
    sys.exit(main())
