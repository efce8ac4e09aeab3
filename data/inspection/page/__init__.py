"""How is what was found in a data set shown? One HTML file that needs nothing else."""
