"""Notebook 03: Which gradients deserve keeping?"""
