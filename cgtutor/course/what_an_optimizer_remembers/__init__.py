"""Notebook 02: What does an optimizer remember?"""
