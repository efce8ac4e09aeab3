"""How does the graph run on Kubeflow Pipelines?"""
