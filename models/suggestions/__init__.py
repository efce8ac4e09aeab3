"""Which images that nobody labeled are worth a person's time, and how do they get into a labeling tool?"""

# Tools in whose forms suggestions are written, each with the folder, below that of the suggestions, which `convert`
# reads once people have labeled: labelme's and YOLO's files are corrected where they are; others go to the images.
SOURCES = {"labelme": "images", "cvat": "images", "label-studio": "images", "coco": "images", "yolo": ""}
