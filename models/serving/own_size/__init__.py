"""Class ids at an image's own size: in tiles of the model's size, or by resizing what the model says of the whole."""
