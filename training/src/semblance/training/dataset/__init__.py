"""Annotated photos: from a labelling tool's export to a checked folder that training and evaluation read."""
