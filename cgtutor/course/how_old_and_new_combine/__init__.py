"""Notebook 04: How do old and new combine?"""
