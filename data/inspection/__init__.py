"""What is in a data set, before anything is trained? Recognizing a folder, and looking at what it holds."""
