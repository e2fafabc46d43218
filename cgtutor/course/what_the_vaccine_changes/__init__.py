"""Notebook 09: What does the vaccine change?"""
