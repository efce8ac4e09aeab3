"""How is a scene segmented that does not fit into memory? Window by window, into a raster on the same ground."""
