"""Which labels of a data set are probably wrong?"""
