"""Which networks of `keras.applications` can look at the image?"""
