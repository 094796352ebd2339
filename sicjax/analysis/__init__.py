"""Measuring grid cells on plain arrays: rate maps in, scores, lattices, modules and tori out."""
