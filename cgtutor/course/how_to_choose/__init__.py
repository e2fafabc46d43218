"""Notebook 06: When does it help, and how do I choose topC and decay?"""
