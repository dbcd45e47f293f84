"""The version of fedcore, for modules that ``fedcore`` itself imports."""

__version__ = "0.1.0"
