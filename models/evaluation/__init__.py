"""How good is a model, and may it be deployed?"""
