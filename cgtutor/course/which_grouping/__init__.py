"""Notebook 10: Which grouping, and when?"""
