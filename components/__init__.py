"""What TFX lacks: one file per component, each usable in another TFX pipeline."""
