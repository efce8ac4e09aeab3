"""What do annotated objects become? Shapes of labeling tools, drawn as class ids and numbered objects."""
