"""Notebook 07: How does the memory get from a heap to a GPU?"""
