"""Where do an encoder's first weights come from? The option `encoder_weights`, and the files that it leads to."""
