"""Commands that turn what production sees into better data."""
