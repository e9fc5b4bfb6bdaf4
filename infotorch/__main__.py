"""``python -m infotorch`` is the command ``infotorch``."""

import sys

from infotorch.cli import main

if __name__ == "__main__":
    sys.exit(main())
