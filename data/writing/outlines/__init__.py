"""Where are the regions of a predicted mask? Polygons along the edges of pixels, simplified where wanted."""
