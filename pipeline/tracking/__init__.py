"""Which other tools are told about a run?"""
