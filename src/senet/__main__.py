"""``python -m senet``, and so ``torchrun -m senet``."""

import sys

from senet.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
