"""What does CVAT export? XML with shapes for images or video, and masks with a label map."""
