"""``python -m trackime_apps``."""

import sys

from trackime_apps.cli import main

sys.exit(main())
