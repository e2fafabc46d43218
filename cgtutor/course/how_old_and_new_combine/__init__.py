"""Notebook 04: How do old and new combine, and where does it enter SGD, RMSprop, Adam and AdamW?"""
