"""Notebook 00: What is here, and does my machine run it?"""
