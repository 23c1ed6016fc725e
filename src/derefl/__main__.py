"""``python -m derefl`` runs the ``derefl`` command."""

import sys

from derefl.cli import main

if __name__ == "__main__":
    sys.exit(main())
