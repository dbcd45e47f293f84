"""Many clients as one network: what the stacked engine and lockstep runs are made of.

A stacked tensor has the clients in front: activations are [K, batch, ...], weights [K, *shape].
Maps of several channels usually lie in memory as [batch, height, width, K, channels], so that all
clients' channels can be handed to a grouped convolution without a copy.
"""
