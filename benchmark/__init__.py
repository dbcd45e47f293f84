"""The suite that comes with fedcore: ``pytest benchmark``, installed ``fedcore_benchmark``."""
