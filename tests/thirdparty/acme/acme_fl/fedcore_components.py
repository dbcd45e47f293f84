"""What fedcore imports when it is first asked for a name: all that this package registers."""

from acme_fl import attacks, data, models, preaggregation, strategies

__all__ = ["attacks", "data", "models", "preaggregation", "strategies"]
