"""The three networks and their layers; their parameters and FLOPs are computed without TensorFlow.

May import nothing else of this package. A network is built in :func:`unet_models.networks.networks.build_network`.
"""
