"""Commands that use a model, or bring it into other forms."""
