"""Objects: which pixel belongs to which, as the network learns it and as it is read from the network's maps.

After Cheng et al., "Panoptic-DeepLab", 2020: beside the logits of the classes, a map that peaks at the objects'
centers, and the way from each pixel to the center of its object.
"""
