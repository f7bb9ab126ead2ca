"""The device in hand: is it fit, and how fast is it?"""
