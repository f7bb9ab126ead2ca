"""Crops drawn anew in every epoch as samples: rooms, noises, microphones, wires."""
