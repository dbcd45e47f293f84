"""``python -m fedcore`` is the command ``fedcore``."""

from fedcore.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
