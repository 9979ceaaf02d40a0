"""Telling people: rules make alerts of what happens, channels take the messages about them."""
