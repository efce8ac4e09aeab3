"""How are the weights learned?"""
