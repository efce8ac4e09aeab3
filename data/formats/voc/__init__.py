"""Which images does a folder in the layout of Pascal VOC have for segmentation, in which splits, and what are they?"""
