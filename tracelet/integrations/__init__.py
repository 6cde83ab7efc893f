"""Integrations: the patches, one module per library. Import nothing from here; `tracelet.registry` lists them."""
