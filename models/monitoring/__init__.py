"""Is what a model is asked now like what it was trained on?"""
