"""Notebook 11: How do I use it in my own project?"""
