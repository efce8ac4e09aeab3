"""What does `predict` write, and how is it known again?"""
