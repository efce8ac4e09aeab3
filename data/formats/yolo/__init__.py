"""How are Ultralytics' data sets for segmentation read? A text file for each image, with outlines in parts of it."""
