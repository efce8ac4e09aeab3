"""Which files of a folder are examples: links, folders, names that belong together, groups, folders of splits?"""
