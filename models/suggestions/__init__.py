"""Which images that nobody labeled are worth a person's time, and how do they get into a labeling tool?"""

# Tools in whose forms suggestions are written, each with the folder, below that of the suggestions, which `convert`
# reads once people have labeled: labelme's and YOLO's files are corrected where they are; others go to the images.
SOURCES = {"labelme": "images", "cvat": "images", "label-studio": "images", "coco": "images", "yolo": ""}
# A folder of this name makes `convert` put what is in it into the train split, and into no other.
IMAGES = "images/train"
# By form, where files belong that tools and `convert` look for elsewhere than where they are written, by their names.
PLACES = {
    "labelme": {"*.json": IMAGES, "labels.txt": "images"},
    "label-studio": {"label_config.xml": "images"},
    "yolo": {"*": ""},
}
