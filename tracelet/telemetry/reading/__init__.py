"""Reads spans: analysis, findings, exports. In any process but the training."""
