"""(k) A process of its own that imports modules and prints the seconds of CPU that it used for them."""

import sys
import time
from importlib import import_module


def main(modules: list[str]) -> None:
    """Import `modules`."""
    started = time.process_time()
    for module in modules:
        import_module(module)
    sys.stdout.write(f'{{"seconds": {time.process_time() - started}}}\n')


if __name__ == "__main__":
    main(sys.argv[2:])
