"""What does the network see? Decoding, resizing, normalizing, augmentation, batches."""
