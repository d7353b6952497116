"""python -m vocolab"""

import sys

from vocolab.cli import main

if __name__ == "__main__":
    sys.exit(main())
