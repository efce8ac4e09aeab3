"""Where does the graph run?"""
