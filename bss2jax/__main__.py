"""`python -m bss2jax`: the command line."""

import sys

from bss2jax.cli import main

sys.exit(main())
