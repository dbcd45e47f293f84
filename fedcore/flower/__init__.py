"""fedcore on Flower: ServerApp, ClientApp, strategies, grids. Only this package imports flwr."""
