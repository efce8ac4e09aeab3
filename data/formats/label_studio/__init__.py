"""What do Label Studio's exports hold? Its tasks, annotators and regions, and the images that they are about."""

from data.formats.label_studio.reader import LabelStudioReader

__all__ = ["LabelStudioReader"]
