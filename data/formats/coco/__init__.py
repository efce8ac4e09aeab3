"""How are COCO's data sets read? Objects and segments of many images in one JSON, and maps of stuff."""
