"""What is learned and how it is measured: preprocessing, encoders, decoders, losses, training, export and metrics."""
