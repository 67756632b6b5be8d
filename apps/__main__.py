"""``python -m trackime_apps``."""

import sys

from .cli import main

sys.exit(main())
