"""How well are objects found, each by itself? Metrics of instances and of whole scenes, in NumPy."""
