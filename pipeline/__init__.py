"""What runs, in which order, where: configuration, the graph, runners and the command line."""
