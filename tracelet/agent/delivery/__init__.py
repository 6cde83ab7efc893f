"""Delivery: couriers read journals in batches, each for one backend."""
