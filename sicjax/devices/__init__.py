"""Devices and processes: the only room that knows `pmap`, meshes and collectives."""
