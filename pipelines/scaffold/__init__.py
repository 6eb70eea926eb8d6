"""``tfx-edge init``: a new pipeline project that runs at once, to be changed from there."""
