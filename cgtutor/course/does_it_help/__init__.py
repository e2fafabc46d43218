"""Notebook 05: Does it help on toy classification?"""
