"""How does a client try a model? A small server with TF Serving's REST paths."""
