"""What do clients call, and which version do they get?"""
