"""`python -m trackime.training`. The commands are in a module of their own: processes must find it by its name."""

import sys

from trackime.training.commands import main

if __name__ == "__main__":
    sys.exit(main())
