"""What was a model asked, and what did it answer?"""
