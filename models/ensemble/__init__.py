"""How do several models, each trained without one fold of the data, become one?"""
