"""Which images that nobody labeled are worth a person's time, and how do they get into a labeling tool?"""
