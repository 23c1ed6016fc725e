"""``python -m derefl`` is ``derefl``."""

import sys

from derefl.cli import main

if __name__ == "__main__":
    sys.exit(main())
