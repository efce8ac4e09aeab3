"""Of which layers are networks made?"""
