"""When does a schedule train, and who learns about it?"""
