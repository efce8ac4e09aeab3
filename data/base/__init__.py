"""What every room stands on: errors, files, locks, versions of packages, sections of the configuration."""
