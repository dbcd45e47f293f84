"""``python -m fedcore`` is the command ``fedcore``."""

from fedcore.cli import command

if __name__ == "__main__":
    command()
