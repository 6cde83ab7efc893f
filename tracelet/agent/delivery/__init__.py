"""Delivery to backends: couriers read journals in batches, each for one backend."""
