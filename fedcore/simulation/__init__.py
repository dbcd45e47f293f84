"""Simulation of federations in this process: single runs, and several in lockstep."""
