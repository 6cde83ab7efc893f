"""What reads spans: analysis, findings, exports. In any process but the training."""
