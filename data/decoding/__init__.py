"""What do the pixels of an image file mean? Its orientation, its range of values, what TensorFlow takes."""
