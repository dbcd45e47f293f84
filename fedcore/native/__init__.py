"""Small C functions, compiled once where there is a compiler, for what torch has no fast kernel of.

Each lies in a C file beside the module that calls it, and that module has torch's operators to fall
back on. Imports no other room of fedcore.
"""

from fedcore.native.switch import disabled

__all__ = ["disabled"]
