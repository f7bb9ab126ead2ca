"""Waveform crops, drawn again in every epoch as samples: rooms, noises, microphones, wires."""
