"""When does a schedule train, and who is told?"""
