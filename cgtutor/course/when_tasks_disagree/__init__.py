"""Notebook 08: When do tasks disagree?"""
