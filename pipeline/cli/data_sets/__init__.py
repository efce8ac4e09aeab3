"""Which commands look at a data set, and how do they learn its format? Nothing here needs TensorFlow for its help."""
