"""What is configured? One YAML file; most sections stand beside the code that they configure."""

from pipeline.config.config import Config, absolute
from pipeline.config.loading import load_config

__all__ = ["Config", "absolute", "load_config"]
