"""`python -m harness`, which is also what `accelerate launch -m harness` starts."""

import sys

from harness.cli import main

if __name__ == "__main__":
    sys.exit(main())
