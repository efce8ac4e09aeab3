"""Does served traffic still look like the data that the deployed model was trained on?"""
