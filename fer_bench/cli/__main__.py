"""``python -m fer_bench.cli`` is the command ``fer-bench``."""

import sys

from fer_bench.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
