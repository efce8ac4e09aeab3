"""How do comparisons of runs and lineages of versions look in a browser?"""
