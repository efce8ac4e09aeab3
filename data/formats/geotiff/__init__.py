"""Scenes: rasters of any size on the ground, cut into windows, with masks that are rasters or polygons."""
