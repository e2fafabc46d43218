"""Notebook 06: How do I choose topC and decay, and what does memory cost?"""
