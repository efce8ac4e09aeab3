"""What is learned and how it is measured: preprocessing, architectures, training, export and metrics."""
