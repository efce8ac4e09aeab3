"""Commands that close the loop: what production sees comes back as better data."""
