"""`python -m limit VERB`."""

import sys

from limit.cli import main

if __name__ == "__main__":
    sys.exit(main())
