"""Architectures: one file each, all from normalized images to logits at the images' resolution."""
