"""Pictures of clothes: a network of depthwise-separable convolutions."""
