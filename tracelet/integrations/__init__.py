"""Integrations: the patches for one library each. Nothing is imported from here; `tracelet.registry` names them."""
