"""How are labelme's data sets read? A JSON for each image, with shapes in pixels of the image as it is shown."""
