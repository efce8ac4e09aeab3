"""What happened in runs, and what were versions made of?"""
