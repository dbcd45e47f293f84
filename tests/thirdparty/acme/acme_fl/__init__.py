"""Components for fedcore by somebody else."""
