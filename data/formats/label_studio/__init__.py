"""What do Label Studio's exports hold? Tasks, annotators and regions, and the images that they are about."""
