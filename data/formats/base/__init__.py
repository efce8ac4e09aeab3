"""What do formats share? Readers, splits, dense masks, annotated objects, and looks into large files."""
