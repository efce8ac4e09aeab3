"""What does a data set hold, and what about it is doubtful? Looks at every input, and keeps little of each."""
