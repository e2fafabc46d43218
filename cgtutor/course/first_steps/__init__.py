"""Notebook 01: What changes when I swap Adam for Adam_C?"""
