"""Which hyperparameters are best?"""
