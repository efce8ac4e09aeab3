"""What do the pixels of a file mean? Images, and masks with their class ids."""
