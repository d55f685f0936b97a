"""`python -m radpipe`."""

from __future__ import annotations

import sys

from radpipe.cli import main

if __name__ == "__main__":
    sys.exit(main())
