"""Programs that show and check fedcore, run from the root of a checkout with ``python -m``."""
