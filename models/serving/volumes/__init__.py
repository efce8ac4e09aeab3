"""How is a volume predicted on, and what is written of it?"""
