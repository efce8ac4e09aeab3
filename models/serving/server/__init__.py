"""A small server for trying a model, with TF Serving's REST paths."""
