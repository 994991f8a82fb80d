"""(k) A process of its own that imports one module and prints the seconds of CPU that it used for it."""

import sys
import time
from importlib import import_module


def main(module: str) -> None:
    """Import `module`."""
    started = time.process_time()
    import_module(module)
    sys.stdout.write(f'{{"seconds": {time.process_time() - started}}}\n')


if __name__ == "__main__":
    main(sys.argv[2])
