"""Which images and labels does a folder in the layout of Cityscapes have, and what are they?"""
